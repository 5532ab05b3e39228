// Tables of many rows: a page at a time, sorted by any column.

const ROWS = 25;

/**
 * @param box      element that holds the table
 * @param caption  what it shows
 * @param columns  {name, value(index) to sort by, show(index), kind: "number" | "text"}
 */
function pagedTable(box, caption, columns) {
  let all = [];
  let page = 0;
  let sorted = null;
  let upwards = true;
  const heads = columns.map((column, index) => make("th", { scope: "col", class: column.kind ?? "" },
    make("button", { type: "button", onclick: () => sortBy(index) }, column.name)));
  const body = make("tbody");
  const table = make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, heads)), body);
  const before = make("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const after = make("button", { type: "button", onclick: () => turn(1) }, "Next");
  const where = make("span", { class: "soft", role: "status" });
  const pager = make("div", { class: "pager" }, before, after, where);
  box.replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), pager);

  function sortBy(index) {
    upwards = sorted === index ? !upwards : columns[index].kind !== "number";
    sorted = index;
    heads.forEach((head, each) => {
      if (each === index) head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    show(all);
  }

  function order(rows) {
    if (sorted === null) return rows;
    const { value } = columns[sorted];
    const way = upwards ? 1 : -1;
    const keys = new Map(rows.map((row) => [row, value(row)]));
    const nothing = (key) => key === null || key === undefined || key === "";
    return [...rows].sort((a, b) => {
      const [one, other] = [keys.get(a), keys.get(b)];
      if (nothing(one) || nothing(other)) return nothing(one) - nothing(other); // last, either way
      return way * (typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true }));
    });
  }

  function turn(by) {
    page += by;
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(all.length / ROWS));
    page = Math.min(Math.max(page, 0), pages - 1);
    body.replaceChildren(...all.slice(page * ROWS, (page + 1) * ROWS).map((row) => make("tr", {}, columns.map((column, index) =>
      make(index ? "td" : "th", { class: column.kind ?? "", scope: index ? null : "row" },
        column.kind === "text" ? make("div", {}, column.show(row)) : column.show(row))))));
    if (!all.length) body.append(make("tr", {}, make("td", { colspan: columns.length, class: "soft" }, "Nothing to show.")));
    pager.hidden = pages === 1;
    before.disabled = page === 0;
    after.disabled = page === pages - 1;
    where.textContent = `Page ${count(page + 1)} of ${count(pages)}`;
  }

  function show(rows) {
    all = order(rows);
    page = 0;
    draw();
  }

  return { show };
}

/** A short table that is whole. */
function smallTable(caption, heads, rows) {
  return make("div", { class: "scroll" }, make("table", {}, make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, heads.map(([name, kind]) => make("th", { scope: "col", class: kind ?? "" }, name)))),
    make("tbody", {}, rows.map((cells) => make("tr", {}, cells.map((cell, index) =>
      make(index ? "td" : "th", { scope: index ? null : "row", class: heads[index][1] ?? "" }, cell)))))));
}
