// What all pages do with keys and choices. Every page also works without: links are links, forms have a button.

const root = document.documentElement;
const stored = localStorage.getItem("mbt-theme");
if (stored) root.dataset.theme = stored;

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("mbt-theme", root.dataset.theme);
  say(`${root.dataset.theme} colours`);
}

// Tells a screen reader what a key or a filter did.
export function say(text) {
  document.getElementById("said").textContent = text;
}

const help = document.getElementById("help");
document.getElementById("theme").addEventListener("click", switchTheme);
document.getElementById("keys").addEventListener("click", () => help.showModal());

// A form of choices goes where they lead as soon as one changes; its button serves where this script does not run.
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.querySelectorAll("button.apply").forEach((button) => button.classList.add("unseen"));
  form.addEventListener("change", () => form.requestSubmit());
}
// An address holds only what was chosen.
for (const form of document.querySelectorAll("form.choices")) {
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
  });
}

const isTyping = (element) => element.closest("input, select, textarea, [contenteditable]");

// Rows that j and k walk over: links or whatever else takes the focus.
function walk(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const now = rows.indexOf(document.activeElement.closest("[data-row]"));
  const next = now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, now + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || isTyping(event.target)) return;
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  if (event.key === "/") document.querySelector('input[type="search"]')?.focus();
  else if (event.key === "?") help.showModal();
  else if (event.key === "d") switchTheme();
  else if (event.key === "j" || event.key === "k") walk(event.key === "j" ? 1 : -1);
  else if (link) link.click();
  else return;
  event.preventDefault();
});
