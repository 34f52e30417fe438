// The list of rollouts: as high as all rows, of which those around what is seen stand in the page; and filters that
// change the list in place. Without this script, filters load the page anew and the list has pages.

import { say } from "./explore.js";

const BLOCK = 100; // rows that are fetched at once
const MARGIN = 20; // rows above and below what is seen
const KEPT = 3000; // rows that are remembered

class List {
  constructor(box) {
    this.box = box;
    this.body = box.querySelector("tbody.rows");
    this.count = Number(box.dataset.count);
    this.version = box.dataset.version;
    this.rows = new Map();
    this.asked = new Map();
    this.current = null;
    this.note([...this.body.rows]);
    const first = this.body.rows[0];
    this.height = first ? first.getBoundingClientRect().height : 1;
    this.above = this.gap(true);
    this.below = this.gap(false);
    this.ended = new AbortController();
    const signal = this.ended.signal;
    let drawing = 0;
    box.addEventListener("scroll", () => {
      cancelAnimationFrame(drawing);
      drawing = requestAnimationFrame(() => this.draw());
    }, { signal });
    box.addEventListener("focusin", (event) => {
      const row = event.target.closest("tr[data-place]");
      if (row) this.remember(Number(row.dataset.place));
    }, { signal });
    box.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-place]");
      if (row && !event.target.closest("a") && getSelection().isCollapsed) row.querySelector("a").click();
    }, { signal });
    document.addEventListener("keydown", (event) => this.press(event), { signal, capture: true });
    box.closest("section").querySelector(".pager").hidden = true;
    this.stretch(Number(box.dataset.start));
    box.scrollTop = Number(box.dataset.start) * this.height;
    this.draw();
    const place = history.state?.place;
    if (Number.isInteger(place) && place < this.count) this.go(place);
  }

  end() {
    this.ended.abort();
    clearTimeout(this.writing);
  }

  gap(isAbove) {
    const gap = document.createElement("tbody");
    gap.className = "gap";
    gap.setAttribute("aria-hidden", "true");
    gap.append(document.createElement("tr"));
    if (isAbove) this.body.before(gap);
    else this.body.after(gap);
    return gap.firstChild;
  }

  note(rows) {
    for (const row of rows) this.rows.set(Number(row.dataset.place), row);
  }

  // Makes the list as high as all its rows, with those that are there in their place.
  stretch(start) {
    this.above.style.height = `${start * this.height}px`;
    this.below.style.height = `${Math.max(0, this.count - start - this.body.rows.length) * this.height}px`;
  }

  window() {
    const first = Math.floor(this.box.scrollTop / this.height);
    const seen = Math.ceil(this.box.clientHeight / this.height);
    return { first, from: Math.max(0, first - MARGIN), to: Math.min(this.count, first + seen + MARGIN) };
  }

  draw() {
    const { first, from, to } = this.window();
    const wanted = [];
    for (let place = from; place < to; place++) {
      if (this.rows.has(place)) wanted.push(this.rows.get(place));
      else this.fetch(Math.floor(place / BLOCK));
    }
    if (wanted.length === to - from) this.show(wanted, from);
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.write(first), 150);
  }

  // Rows that stay are not touched, so that they keep the focus.
  show(wanted, from) {
    const staying = new Set(wanted);
    for (const row of [...this.body.rows]) {
      if (staying.has(row)) continue;
      if (row.contains(document.activeElement)) this.box.focus({ preventScroll: true });
      row.remove();
    }
    wanted.forEach((row, index) => {
      if (this.body.rows[index] !== row) this.body.insertBefore(row, this.body.rows[index] ?? null);
    });
    this.stretch(from);
    this.forget(from);
    if (this.aim !== undefined) this.focus(this.aim);
  }

  forget(near) {
    if (this.rows.size <= KEPT) return;
    const far = [...this.rows.keys()].sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    for (const place of far.slice(0, this.rows.size - KEPT / 2)) this.rows.delete(place);
  }

  async fetch(block) {
    if (this.asked.has(block)) return;
    this.asked.set(block, true);
    this.box.setAttribute("aria-busy", "true");
    try {
      const url = new URL(this.box.dataset.rows, location.href);
      url.searchParams.set("from", block * BLOCK);
      url.searchParams.set("count", BLOCK);
      const response = await fetch(url, { signal: this.ended.signal });
      if (!response.ok) throw new Error(`${response.status}`);
      // Rollouts or scores were replaced meanwhile: what was here is another list.
      if (response.headers.get("X-Version") !== this.version) {
        this.write(this.window().first);
        return location.reload();
      }
      const part = document.createElement("template");
      part.innerHTML = await response.text();
      this.note([...part.content.querySelectorAll("tr")]);
      this.draw();
    } catch (error) {
      if (error.name !== "AbortError") say(`The rows cannot be loaded (${error.message}): reload the page`);
    } finally {
      this.asked.delete(block);
      if (!this.asked.size) this.box.removeAttribute("aria-busy");
    }
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.count || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea")) return;
    const isHere = this.box.contains(event.target);
    const { first } = this.window();
    const at = this.current ?? first - 1;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 2);
    const steps = { j: at + 1, k: at - 1, ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.count - 1 };
    if (!(event.key in steps) || (!isHere && event.key !== "j" && event.key !== "k")) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(Math.min(this.count - 1, Math.max(0, steps[event.key])));
  }

  go(place) {
    this.current = this.aim = place;
    const head = this.box.querySelector("thead").getBoundingClientRect().height;
    const top = place * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.height + head > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + this.height + head - this.box.clientHeight;
    }
    this.draw();
  }

  focus(place) {
    const row = this.rows.get(place);
    if (!row?.isConnected) return;
    this.aim = undefined;
    row.querySelector("a").focus({ preventScroll: true });
    this.box.scrollIntoView({ block: "nearest" });
  }

  remember(place) {
    this.current = place;
    history.replaceState({ place }, "");
  }

  // The address holds the first row that is seen, so that one comes back to it.
  write(first) {
    const url = new URL(location.href);
    if (first > 0) url.searchParams.set("row", first + 1);
    else url.searchParams.delete("row");
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  }
}

const filters = document.getElementById("filters");
let list = filters && new List(document.querySelector(".rollouts"));
let asking = new AbortController();

function chosenBy(address) {
  const query = new URL(address, location.href).searchParams;
  query.delete("row");
  return query.toString();
}
let wanted = chosenBy(location.href);

// Shows the list that an address asks for, and leaves the rest of the page as it is.
async function swap(address, isNew) {
  wanted = chosenBy(address);
  asking.abort();
  asking = new AbortController();
  document.getElementById("list").setAttribute("aria-busy", "true");
  let text;
  try {
    const response = await fetch(address, { signal: asking.signal });
    if (!response.ok) throw new Error(`${response.status}`);
    text = await response.text();
  } catch (error) {
    if (error.name !== "AbortError") location.href = address;
    return;
  }
  const next = new DOMParser().parseFromString(text, "text/html");
  const sorted = document.activeElement?.dataset?.swap;
  list.end();
  for (const id of ["list", "drawn"]) document.getElementById(id).replaceWith(document.adoptNode(next.getElementById(id)));
  if (isNew) history.pushState(null, "", address);
  const query = new URL(location.href).searchParams;
  for (const field of filters.elements) if (field.name) field.value = query.get(field.name) ?? "";
  list = new List(document.querySelector(".rollouts"));
  if (sorted !== undefined) (document.querySelector(`#list [data-swap="${sorted}"]`) ?? document.getElementById("rollouts")).focus();
  say(document.getElementById("left").textContent);
}

if (filters) {
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    const address = new URL(filters.action);
    address.search = new URLSearchParams(new FormData(filters));
    address.hash = "";
    // The key Enter in a field that has changed submits twice.
    if (chosenBy(address) !== wanted) swap(address.href, true);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const address = new URL(link.href);
    address.hash = "";
    swap(address.href, true);
  });
  addEventListener("popstate", () => {
    if (chosenBy(location.href) !== wanted) swap(location.href, false);
  });
}
