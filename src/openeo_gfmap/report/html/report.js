"use strict";
// The page, from top to bottom.

const { sums, samples, jobs } = facts;
const stateOf = (i) => samples.states[samples.state[i]];
const reasonOf = (i) => (samples.reason[i] === null ? "" : samples.reasons[samples.reason[i]]);
const labelOf = (i) => (samples.label[i] === null ? "" : samples.labels[samples.label[i]]);
const folder = facts.folder;

function subtitle() {
  const count = jobs.row ? jobs.row.length : 0;
  const last = facts.runs[facts.runs.length - 1];
  const parts = [`${plural(count, "job")}, ${plural(sums.expected, "sample")}`];
  if (last) parts.push(`last run ${last.began.replace("T", " ").slice(0, 16)} UTC`);
  parts.push(facts.running ? `still run by ${facts.running}` : folder);
  byId("subtitle").textContent = parts.join(" · ");
  byId("made").textContent = `${facts.made.replace("T", " ").slice(0, 16)} UTC`;
}

function account() {
  const parent = byId("account");
  const line = add(parent, "p", { class: "headline" }, number(sums.received), " ");
  add(line, "small", {}, `of ${number(sums.expected)} samples received, ${share(sums.received, sums.expected)}`);
  const bar = add(parent, "div", { class: "stack", role: "img", "aria-label": Object.keys(STATES).map((s) => `${sums[s]} ${s}`).join(", ") });
  for (const state of Object.keys(STATES)) {
    if (sums[state]) add(bar, "span", { class: `bg-${state}`, style: `width:${(100 * sums[state]) / sums.expected}%` });
  }
  const list = add(parent, "ul", { class: "sums" });
  for (const state of Object.keys(STATES)) {
    add(list, "li", {}, mark(state), ` ${number(sums[state])} ${state}`);
  }
  add(list, "li", { class: "quiet" }, `sum ${number(sums.received + sums.missing + sums.rejected + sums.open)} = expected ${number(sums.expected)}`);
}

function command(parent, text) {
  const line = add(parent, "div", { class: "command" });
  add(line, "code", {}, text);
  const button = add(line, "button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(line.firstChild); button.textContent = "Selected"; }
  });
}

function advice() {
  const parent = byId("advice");
  if (!facts.errors.length && sums.received === sums.expected) {
    add(parent, "p", {}, "Nothing: every sample is there. Later, to see whether all files are still what they were:");
    command(parent, `gfmap verify ${folder}`);
    return;
  }
  for (const error of facts.errors) {
    const block = add(parent, "div", { class: "advice" });
    add(block, "h3", {}, `${plural(error.jobs, "job")} failed: ${error.kind}`);
    add(block, "p", {}, error.advice);
    const more = add(block, "details");
    add(more, "summary", { class: "quiet small" }, "What was said");
    for (const example of error.examples) {
      add(more, "pre", {}, `row ${example.row}${example.id ? `, job ${example.id}` : ""}: ${example.message}`);
    }
  }
  const lacking = new Map();
  for (let i = 0; i < samples.shown; i += 1) {
    if (reasonOf(i)) lacking.set(reasonOf(i), (lacking.get(reasonOf(i)) || 0) + 1);
  }
  const reasons = [...lacking].sort((a, b) => b[1] - a[1]).slice(0, 5);
  if (reasons.length) {
    add(parent, "h3", {}, "Why samples are not there");
    bars(parent, reasons.map(([name, n]) => ({ name, n, parts: [["missing", n / reasons[0][1]]] })), (row) => number(row.n));
  }
  if (sums.open) add(parent, "p", { class: "quiet" }, `${plural(sums.open, "sample")} open: run the same again to go on.`);
  command(parent, `gfmap retry ${folder}`);
}

let map, sampleTable, jobTable;

function chooseSample(i) {
  const parent = byId("details");
  parent.replaceChildren();
  add(parent, "h3", {}, mark(stateOf(i)), ` ${samples.id[i]}`);
  const job = jobs.row.indexOf(samples.row[i]);
  pairs(parent, [
    ["State", stateOf(i)], ["Why", reasonOf(i)], ["Label", labelOf(i)],
    ["Place", samples.x[i] === null ? "" : `${samples.y[i].toFixed(4)}° N, ${samples.x[i].toFixed(4)}° E`],
    ["Job", job < 0 ? "" : `row ${jobs.row[job]}, ${jobs.status[job]}`],
  ]);
  if (job >= 0) {
    add(add(parent, "p"), "button", { type: "button" }, "Its job").addEventListener("click", () => chooseJob(job));
  }
  map.show(i);
  sampleTable.mark(i);
}

function chooseJob(j) {
  const parent = byId("details");
  parent.replaceChildren();
  add(parent, "h3", {}, `Job of row ${jobs.row[j]}`);
  pairs(parent, [
    ["Status", jobs.status[j]], ["Id", jobs.id[j]], ["Back-end", jobs.backend[j]],
    ["Started", jobs.started[j]], ["Took", time(jobs.seconds[j])],
    ["Costs", jobs.costs[j] === null ? "" : amount(jobs.costs[j])],
    ["Attempt", jobs.attempt[j] > 1 ? jobs.attempt[j] : ""], ["Error", jobs.kind[j]], ["Why", jobs.message[j]],
    ["Samples", samples.states.map((s, n) => (jobs.counts[j][n] ? `${jobs.counts[j][n]} ${s}` : "")).filter(Boolean).join(", ")],
  ]);
  if (jobs.id[j]) command(parent, `gfmap logs ${jobs.row[j]} ${folder}`);
  jobTable.mark(j);
  const first = samples.row.indexOf(jobs.row[j]);
  if (first >= 0) map.show(first);
}

function where() {
  map = new SampleMap(byId("map"), samples, JSON.parse(byId("land").textContent), (i) => {
    chooseSample(i);
    byId("details").focus({ preventScroll: true });
  });
  for (const state of Object.keys(STATES)) {
    if (!sums[state]) continue;
    const label = add(add(byId("legend"), "li"), "label");
    const box = add(label, "input", { type: "checkbox", checked: "", "data-state": state });
    label.append(mark(state), `${number(sums[state])} ${state}`);
    box.addEventListener("change", () => map.toggle(state, box.checked));
  }
  if (samples.shown < sums.expected) {
    byId("map-help").prepend(`${number(samples.shown)} of ${number(sums.expected)} samples are shown here and in the table: all that are not received, and an even choice of the others. `);
  }
}

function classes() {
  const parent = byId("classes");
  if (!facts.classes.length) {
    add(parent, "p", { class: "quiet" }, "The samples carry no label that is known here.");
    return;
  }
  const most = facts.classes[0].expected;
  const row = (c) => ({ ...c, name: c.label, parts: [["received", c.received / most], ["missing", (c.expected - c.received) / most]] });
  bars(parent, facts.classes.slice(0, 12).map(row), (c) => `${number(c.received)} of ${number(c.expected)}`);
  if (facts.classes.length > 12) {
    const more = add(parent, "details");
    add(more, "summary", { class: "quiet small" }, `${facts.classes.length - 12} more`);
    bars(more, facts.classes.slice(12).map(row), (c) => `${number(c.received)} of ${number(c.expected)}`);
  }
}

function months() {
  const parent = byId("months"), data = facts.months;
  if (!data.length) {
    add(parent, "p", { class: "quiet" }, "No dates are known yet.");
    return;
  }
  const width = 480, height = 170, left = 34, base = height - 22, step = (width - left) / data.length;
  const most = Math.max(...data.map((m) => m.dates)), up = (n) => base - (n / most) * (base - 12);
  const svg = add(parent, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Dates of all patches by month, at most ${most}` });
  add(svg, "text", { x: 0, y: 16 }, number(most));
  add(svg, "text", { x: 0, y: base }, "0");
  data.forEach((m, n) => {
    const x = left + n * step, wide = Math.max(step - 2, 1), seen = m.hidden === null ? m.dates : m.dates * (1 - m.hidden);
    const bar = add(svg, "g");
    add(bar, "title", {}, `${m.month}: ${number(m.dates)} dates${m.hidden === null ? "" : `, ${Math.round(100 * m.hidden)} % hidden by clouds`}`);
    add(bar, "rect", { x, y: up(m.dates), width: wide, height: base - up(m.dates), fill: "var(--track)" });
    add(bar, "rect", { x, y: up(seen), width: wide, height: base - up(seen), fill: "var(--received)" });
    if (n % Math.ceil(data.length / 8) === 0) add(svg, "text", { x, y: height - 6 }, m.month);
  });
  const known = data.some((m) => m.hidden !== null);
  add(parent, "p", { class: "quiet small" }, known
    ? "Dates of all patches. Dark: the share that can be seen, in up to 60 patches; pale: hidden by clouds."
    : "Dates of all patches.");
}

function tables() {
  sampleTable = new DataTable(byId("samples"), {
    label: "samples", count: samples.shown, filter: { name: "State", get: stateOf }, choose: chooseSample,
    columns: [
      { name: "Sample", get: (i) => samples.id[i] },
      { name: "State", get: stateOf, show: (cell, value) => cell.append(mark(value), ` ${value}`) },
      { name: "Label", get: labelOf },
      { name: "Row", number: true, get: (i) => samples.row[i] },
      { name: "Why", get: reasonOf, long: true },
    ],
  });
  jobTable = new DataTable(byId("jobs"), {
    label: "jobs", count: jobs.row ? jobs.row.length : 0, filter: { name: "Status", get: (j) => jobs.status[j] }, choose: chooseJob,
    columns: [
      { name: "Row", number: true, get: (j) => jobs.row[j] },
      { name: "Status", get: (j) => jobs.status[j] },
      { name: "Job", get: (j) => jobs.id[j] },
      { name: "Back-end", get: (j) => jobs.backend[j] },
      { name: "Received", number: true, get: (j) => jobs.counts[j][samples.states.indexOf("received")] },
      { name: "Took", number: true, get: (j) => jobs.seconds[j], show: (cell, value) => { cell.textContent = time(value); } },
      { name: "Costs", number: true, get: (j) => jobs.costs[j] },
      { name: "Why", get: (j) => jobs.message[j], long: true },
    ],
  });
}

function costs() {
  const parent = byId("costs"), { spent, left, by_backend: places, by_recipe: recipes, past } = facts.costs;
  if (!spent) {
    add(parent, "p", { class: "quiet" }, "The back-ends have billed nothing.");
    return;
  }
  add(parent, "p", {}, `${amount(spent)} spent${past ? `, ${amount(past)} of it on attempts that failed` : ""}${left ? `; about ${amount(left)} to come` : ""}.`);
  const rows = (entries) => Object.entries(entries).map(([name, value]) => ({ name, value, parts: [["received", value / spent]] }));
  bars(parent, rows(places), (row) => amount(row.value));
  if (Object.keys(recipes).length > 1) bars(parent, rows(recipes), (row) => amount(row.value));
  const dear = jobs.row.map((_, j) => j).filter((j) => jobs.costs[j]).sort((a, b) => jobs.costs[b] - jobs.costs[a]).slice(0, 5);
  add(parent, "h3", { style: "margin-top:1rem" }, "Dearest jobs");
  bars(parent, dear.map((j) => ({ name: `row ${jobs.row[j]}`, j, parts: [["open", jobs.costs[j] / jobs.costs[dear[0]]]] })), (row) => amount(jobs.costs[row.j]));
}

function slowest() {
  const parent = byId("slow");
  const slow = (jobs.row || []).map((_, j) => j).filter((j) => jobs.seconds[j] !== null).sort((a, b) => jobs.seconds[b] - jobs.seconds[a]).slice(0, 8);
  if (!slow.length) {
    add(parent, "p", { class: "quiet" }, "The back-ends do not say how long jobs took.");
    return;
  }
  const most = jobs.seconds[slow[0]] || 1;
  bars(parent, slow.map((j) => ({ name: `row ${jobs.row[j]}`, j, parts: [["open", jobs.seconds[j] / most]] })), (row) => time(jobs.seconds[row.j]));
}

function asked() {
  const parent = byId("asked");
  const plain = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : value);
  pairs(parent, Object.entries(facts.asked).map(([name, value]) => [name.replaceAll("_", " "), plain(value)]));
  const last = facts.runs[facts.runs.length - 1];
  if (last && last.software) {
    pairs(parent, [["software", Object.entries(last.software).map(([name, version]) => `${name} ${version}`).join(", ")]]);
  }
  if (facts.runs.length) {
    const more = add(parent, "details");
    add(more, "summary", { class: "quiet small" }, `Run ${plural(facts.runs.length, "time")}`);
    for (const run of facts.runs) {
      add(more, "pre", {}, `${run.began} to ${run.ended || (run === last && facts.running ? "now" : "a kill")}`);
    }
  }
}

function theme() {
  const root = document.documentElement, button = byId("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(dark()));
    if (map) map.draw();
  };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; show(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

for (const part of [subtitle, account, advice, where, classes, months, tables, costs, slowest, asked, theme]) part();
