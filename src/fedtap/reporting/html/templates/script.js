/* Sorts tables by a column, and opens what a link leads to. The page is whole without it. Where a page renews itself (live.js),
   new tables are made to sort, and sorted ones sorted again. */
(function () {
  "use strict";
  function key(cell) {
    var text = cell.dataset.v || cell.textContent.replace(/[★≈▿●○◆,]/g, "").trim();
    if (text === "" || text === "–") { return null; }
    return /^[-+]?\d/.test(text) ? parseFloat(text) : text.toLowerCase();
  }
  function order(a, b) {
    if (typeof a === typeof b) { return a < b ? -1 : a > b ? 1 : 0; }
    return typeof a === "number" ? -1 : 1;
  }
  function sort(table, head, column, down) {
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row, at) {
      return { row: row, at: at, key: key(row.cells[column]) };
    });
    rows.sort(function (a, b) {
      if (a.key === null || b.key === null) { return (a.key === null) - (b.key === null) || a.at - b.at; }
      return (down ? -1 : 1) * order(a.key, b.key) || a.at - b.at;
    });
    rows.forEach(function (each) { body.appendChild(each.row); });
    Array.prototype.forEach.call(head.parentNode.cells, function (cell) { cell.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
  function ready() {
    Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), function (table) {
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
        var way = head.getAttribute("aria-sort");
        if (way) { sort(table, head, column, way === "descending"); }
        if (head.querySelector("button.sort")) { return; }
        var button = document.createElement("button");
        button.type = "button";
        button.className = "sort";
        while (head.firstChild) { button.appendChild(head.firstChild); }
        head.appendChild(button);
        button.addEventListener("click", function () {
          sort(table, head, column, head.getAttribute("aria-sort") === "ascending");
        });
      });
    });
  }
  function open() {
    var found = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var at = found; at; at = at.parentElement) { if (at.tagName === "DETAILS") { at.open = true; } }
    if (found) { found.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  document.addEventListener("renewed", ready);
  ready();
  open();
})();
