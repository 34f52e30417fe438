"use strict";
// Tables sort by a click on a column's head, or by Enter or Space on it: first one way, then the other, then as it was.
// Without this script they stand in the study's order, and everything else works too.

/** What a cell sorts by: in a column of figures its first number, else its text; null where nothing is there. */
function valueOf(row, column, isText) {
  const text = row.cells[column].textContent.trim();
  if (text === "" || text.startsWith("–")) return null;
  // A time and a digest begin with a number, too.
  if (isText) return text;
  const number = /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?/.exec(text);
  return number ? Number(number[0].replaceAll(",", "")) : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en");
}

/** Sort the rows of each body, which is one model's in the paper's tables; a body's own head stays on top. */
function sort(table, column, direction, isText) {
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => row.cells.length > 1);
    rows.forEach((row, place) => { row.dataset.place ??= place; });
    rows.sort((one, other) => {
      const [a, b] = [valueOf(one, column, isText), valueOf(other, column, isText)];
      const inOrder = one.dataset.place - other.dataset.place;
      if (direction === "none") return inOrder;
      // What is missing comes last, whichever way.
      if (a === null || b === null) return (a === null) - (b === null) || inOrder;
      return (direction === "ascending" ? compare(a, b) : compare(b, a)) || inOrder;
    });
    body.append(...rows);
  }
}

function next(now, first) {
  const second = first === "ascending" ? "descending" : "ascending";
  return { none: first, [first]: second, [second]: "none" }[now];
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.querySelectorAll("th[data-column]");
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    head.ariaSort = "none";
    button.addEventListener("click", () => {
      const isText = head.classList.contains("text");
      const direction = next(head.ariaSort, isText ? "ascending" : "descending");
      for (const other of heads) other.ariaSort = "none";
      head.ariaSort = direction;
      sort(table, Number(head.dataset.column), direction, isText);
    });
  }
}

// A link to a part that is folded opens it.
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
