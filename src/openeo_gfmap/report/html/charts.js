// Class balance, and dates with clouds by month.

const FIRST_CLASSES = 15;

function classBalance(box, classes, show) {
  const most = Math.max(...classes.map((each) => each.expected));
  const rows = (list) => list.map(({ label, expected, received }) => {
    const all = make("span", { class: "all" });
    const came = make("span", { class: "received fill" });
    all.style.width = `${(100 * expected) / most}%`;
    came.style.width = `${(100 * received) / most}%`;
    return [
      make("button", { type: "button", class: "plain", onclick: () => show(label) }, label),
      make("div", { class: "meter", "aria-hidden": "true" }, all, came),
      count(received), count(expected), percent(received / expected),
    ];
  });
  const heads = [["Class"], ["Received of expected"], ["Received", "number"], ["Expected", "number"], ["Share", "number"]];
  const draw = (list) => smallTable("Samples of each class, received and expected", heads, rows(list));
  box.append(draw(classes.slice(0, FIRST_CLASSES)));
  if (classes.length > FIRST_CLASSES) {
    const more = make("button", { type: "button", onclick: () => box.replaceChildren(draw(classes)) }, `All ${count(classes.length)} classes`);
    box.append(make("p", { class: "pager" }, more));
  }
}

/** All months from the first to the last, also those without a date. */
function everyMonth(months) {
  const known = new Map(months.map((each) => [each.month, each]));
  const found = [];
  let [year, month] = months[0].month.split("-").map(Number);
  for (;;) {
    const name = `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}`;
    found.push(known.get(name) ?? { month: name, dates: 0, hidden: null });
    if (name >= months.at(-1).month || found.length > 1200) return found;
    [year, month] = month === 12 ? [year + 1, 1] : [year, month + 1];
  }
}

function monthChart(box, months) {
  const all = everyMonth(months);
  const looked = all.some((each) => each.hidden !== null);
  // In pixels of the page, so that its texts are as large as others.
  const [wide, high, left, under] = [Math.max(box.clientWidth - 34, all.length * 20), 230, 52, 24];
  const most = Math.max(...all.map((each) => each.dates));
  const power = 10 ** Math.floor(Math.log10(most));
  const top = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= most) * power;
  const y = (value) => 8 + (high - under - 8) * (1 - value / top);
  const each = (wide - left) / all.length;
  const chart = svg("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, class: "months", role: "img", "aria-label": `Observations by month, ${all[0].month} to ${all.at(-1).month}; the table below has the numbers` });
  const text = (x, at, words, anchor) => {
    const element = svg("text", { x, y: at, "text-anchor": anchor });
    element.textContent = words;
    return element;
  };
  for (const value of top < 4 || top % 2 ? [0, top] : [0, top / 2, top]) {
    chart.append(svg("line", { x1: left, x2: wide, y1: y(value), y2: y(value), class: "grid" }),
      text(left - 6, y(value) + 4, count(value), "end"));
  }
  const named = Math.ceil(58 / each); // months from one name to the next
  all.forEach(({ month, dates, hidden }, index) => {
    const width = Math.min(each * 0.72, 70);
    const x = left + (index + 0.5) * each - width / 2;
    const clear = dates * (1 - (hidden ?? 0));
    const title = svg("title");
    title.textContent = `${month}: ${several(dates, "observation")}${hidden === null ? "" : `, ${percent(hidden)} hidden`}`;
    chart.append(svg("g", {}, title,
      svg("rect", { x, width, y: y(clear), height: y(0) - y(clear), class: "clear" }),
      svg("rect", { x, width, y: y(dates), height: y(clear) - y(dates), class: "cloud" })));
    if (index % named === 0) chart.append(text(x + width / 2, high - 8, month, "middle"));
  });
  const swatch = (kind, words) => make("span", {}, make("span", { class: `swatch ${kind}` }), words);
  box.append(
    make("div", { class: "card" },
      make("p", { class: "legend soft" }, swatch("clear", looked ? "Seen" : "Observations"), looked ? swatch("cloud", "Hidden by clouds, their shadows or missing pixels") : null),
      make("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Chart of months" }, chart)),
    make("details", {}, make("summary", {}, "As a table"),
      smallTable("Observations and clouds by month", [["Month"], ["Observations", "number"], ["Hidden", "number"]],
        months.map(({ month, dates, hidden }) => [month, count(dates), hidden === null ? "" : percent(hidden)]))));
}
