// The report page without this script: everything is readable, links open layers. With it: hints on
// hover and focus, arrow keys in charts, sorting of tables, marks of the layer that is shown.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Hints: of whatever has the class "tip", its data-tip or accessible name.
const tip = document.getElementById("tip");
function showTip(element, x, y) {
  tip.textContent = element.dataset.tip ?? element.getAttribute("aria-label");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 8)) + "px";
  tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + "px";
}
const hideTip = () => { tip.hidden = true; };
document.addEventListener("mousemove", (event) => {
  const element = event.target.closest?.(".tip");
  element ? showTip(element, event.clientX, event.clientY) : hideTip();
});
document.addEventListener("focusin", (event) => {
  const element = event.target.closest?.(".tip");
  if (!element || !element.matches(":focus-visible")) return hideTip();
  const box = element.getBoundingClientRect();
  showTip(element, box.right, box.bottom - 12);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

// A chart is one stop of the Tab key; arrows walk through its links.
for (const chart of all("[data-arrows]")) {
  const links = all("a", chart);
  links.forEach((link, index) => link.setAttribute("tabindex", index ? "-1" : "0"));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = links.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = links[(at + step + links.length) % links.length];
    links[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

// A click anywhere in a row or a column of the strip opens its layer.
document.addEventListener("click", (event) => {
  const place = event.target.closest("[data-open]");
  if (place && !event.target.closest("a, button") && !getSelection().toString()) {
    location.hash = place.dataset.open;
  }
});

// Mark what is shown.
function mark() {
  const wanted = document.getElementById(location.hash.slice(1));
  const shown = wanted?.matches(".detail") ? wanted : document.querySelector(".detail.first");
  if (!shown) return;
  for (const element of all("[data-open], [data-arrows] a")) {
    const opens = element.dataset.open || element.getAttribute("href").slice(1);
    element.classList.toggle("chosen", opens === shown.id);
  }
  if (location.hash.slice(1) === shown.id) shown.focus({ preventScroll: true });
}
addEventListener("hashchange", mark);
mark();

// Tables of the class "sortable": a click on a heading sorts by data-sort of the cells.
for (const table of all("table.sortable")) {
  const headings = all("thead th", table);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        return isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...(descending ? rows.reverse() : rows));
    });
  });
}
