"use strict";
// A table of many rows: a page of them at a time, searched, filtered, sorted.

class DataTable {
  // columns: {name, get(i), number?, show?(value, i)}; filters: {name, get(i)}.
  constructor(parent, { label, count, columns, filter, choose, page = 25 }) {
    Object.assign(this, { columns, filter, choose, page, at: 0, sorted: null, down: false, chosen: null });
    this.rows = Array.from({ length: count }, (_, i) => i);
    const tools = add(parent, "div", { class: "tools" });
    this.search = add(tools, "input", { type: "search", placeholder: `Search ${label}`, "aria-label": `Search ${label}` });
    this.search.addEventListener("input", () => this.update());
    if (filter) {
      this.select = add(tools, "select", { "aria-label": filter.name });
      add(this.select, "option", { value: "" }, `${filter.name}: all`);
      const counts = new Map();
      for (const i of this.rows) counts.set(filter.get(i), (counts.get(filter.get(i)) || 0) + 1);
      for (const [value, n] of counts) add(this.select, "option", { value }, `${value} (${number(n)})`);
      this.select.addEventListener("change", () => this.update());
    }
    this.said = add(tools, "span", { class: "quiet small", role: "status" });
    const table = add(add(parent, "div", { class: "scroll" }), "table");
    const head = add(add(table, "thead"), "tr");
    for (const column of columns) {
      const cell = add(head, "th", { scope: "col", class: column.number ? "number" : null });
      add(cell, "button", { type: "button" }, column.name).addEventListener("click", () => {
        this.down = this.sorted === column ? !this.down : Boolean(column.number);
        this.sorted = column;
        for (const other of head.children) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", this.down ? "descending" : "ascending");
        this.update();
      });
    }
    this.body = add(table, "tbody");
    const turn = add(parent, "div", { class: "tools" });
    this.back = add(turn, "button", { type: "button" }, "Back");
    this.forth = add(turn, "button", { type: "button" }, "More");
    this.back.addEventListener("click", () => this.turn(-1));
    this.forth.addEventListener("click", () => this.turn(1));
    this.update();
  }

  update() {
    const text = this.search.value.trim().toLowerCase(), wanted = this.select ? this.select.value : "";
    this.found = this.rows.filter((i) =>
      (!wanted || String(this.filter.get(i)) === wanted) &&
      (!text || this.columns.some((c) => String(c.get(i) ?? "").toLowerCase().includes(text))));
    if (this.sorted) {
      const { get, number: isNumber } = this.sorted, sign = this.down ? -1 : 1;
      const empty = (value) => value === null || value === undefined || value === "";
      this.found.sort((a, b) => {
        const [x, y] = [get(a), get(b)];
        if (empty(x) || empty(y)) return empty(x) - empty(y);
        return sign * (isNumber ? x - y : String(x).localeCompare(String(y)));
      });
    }
    this.at = 0;
    this.draw();
  }

  turn(pages) {
    this.at += pages * this.page;
    this.draw();
  }

  draw() {
    this.body.replaceChildren();
    for (const i of this.found.slice(this.at, this.at + this.page)) {
      const row = add(this.body, "tr", { tabindex: "0", "aria-selected": String(i === this.chosen), "data-row": i });
      for (const column of this.columns) {
        const value = column.get(i);
        const cell = add(row, "td", { class: column.number ? "number" : column.long ? "text" : null });
        if (column.show) column.show(cell, value, i);
        else cell.textContent = value === null || value === undefined ? "" : column.number ? amount(value) : value;
      }
      row.addEventListener("click", () => this.choose(i));
      row.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.choose(i); }
      });
    }
    const last = Math.min(this.at + this.page, this.found.length);
    this.said.textContent = this.found.length
      ? `${number(this.at + 1)} to ${number(last)} of ${number(this.found.length)}`
      : "nothing found";
    this.back.disabled = this.at === 0;
    this.forth.disabled = last >= this.found.length;
  }

  mark(i) {
    this.chosen = i;
    for (const row of this.body.children) row.setAttribute("aria-selected", String(row.dataset.row === String(i)));
  }
}
