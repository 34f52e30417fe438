// The SQL page: keys of the editor, the list of names, what runs, and what was asked before.
import { say } from "./explore.js";

const LONG = 8000; // characters of SQL; beyond, it goes as a form: an address cannot hold any length
const KEPT = 20;
const STORE = "mbt-queries";

const form = document.getElementById("ask");
const editor = document.getElementById("sql");

// While it runs
const running = document.getElementById("running");
let ticking;

function ended() {
  clearInterval(ticking);
  running.hidden = true;
}

function cancel() {
  if (running.hidden) return;
  // The server stops a statement that nobody waits for.
  window.stop();
  ended();
  say("cancelled");
}

function started() {
  const start = Date.now();
  const show = () => (document.getElementById("elapsed").textContent = `running, ${Math.round((Date.now() - start) / 1000)} s`);
  clearInterval(ticking);
  show();
  running.hidden = false;
  ticking = setInterval(show, 1000);
}

form.addEventListener("submit", () => {
  form.method = encodeURIComponent(editor.value).length > LONG ? "post" : "get";
  started();
});
document.getElementById("cancel").addEventListener("click", cancel);
document.addEventListener("keydown", (event) => event.key === "Escape" && cancel());
addEventListener("pageshow", ended);
editor.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  form.requestSubmit();
});

// Names that go into the editor
function insert(text) {
  const before = editor.value.slice(0, editor.selectionStart);
  const spaced = before && !/[\s(.,]$/.test(before) ? ` ${text}` : text;
  editor.focus();
  editor.setRangeText(spaced, editor.selectionStart, editor.selectionEnd, "end");
}

const schema = document.getElementById("schema");
schema.querySelectorAll(".insert").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => insert(button.dataset.insert));
});
schema.querySelectorAll(".plain").forEach((name) => name.remove());
if (matchMedia("(max-width: 60rem)").matches) schema.open = false;

const find = document.getElementById("find-name");
find.parentElement.hidden = false;
find.addEventListener("input", () => {
  const part = find.value.trim().toLowerCase();
  const holds = (element) => element.dataset.name.toLowerCase().includes(part);
  let shown = 0;
  for (const table of schema.querySelectorAll(".table")) {
    const columns = [...table.querySelectorAll("li")];
    const found = columns.filter(holds);
    const whole = holds(table);
    columns.forEach((column) => (column.hidden = !whole && !found.includes(column)));
    table.hidden = !whole && !found.length;
    table.open = part !== "" && !whole && found.length > 0;
    shown += table.hidden ? 0 : 1;
  }
  for (const group of schema.querySelectorAll(".group")) group.hidden = !group.querySelector(".table:not([hidden])");
  say(`${shown} tables`);
});

// What was asked before, in this browser alone
function asked() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(found) ? found.filter((sql) => typeof sql === "string") : [];
  } catch {
    return [];
  }
}

function show() {
  const section = document.getElementById("recent");
  const list = section.querySelector("ul");
  list.replaceChildren();
  for (const sql of asked()) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link code cut";
    button.textContent = sql.replace(/\s+/g, " ");
    button.title = "put it into the editor";
    button.addEventListener("click", () => {
      editor.value = sql;
      editor.focus();
    });
    const item = document.createElement("li");
    item.append(button);
    list.append(item);
  }
  section.hidden = !list.children.length;
}

if (document.querySelector("[data-ran]")) {
  const sql = editor.value.trim();
  const others = asked().filter((other) => other !== sql);
  try {
    localStorage.setItem(STORE, JSON.stringify([sql, ...others].slice(0, KEPT)));
  } catch {
    // The store is full: what is asked now is on the page anyhow.
  }
}
document.getElementById("forget").addEventListener("click", () => {
  localStorage.removeItem(STORE);
  show();
  editor.focus();
});
show();
