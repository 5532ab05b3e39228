// Puts the page together: what is in the facts, see report/facts.py.

const FACTS = JSON.parse($("facts").textContent);
const STATES = FACTS.samples.states;
const JOB_STATES = FACTS.jobs.states;
const SAMPLES = FACTS.samples;
const JOBS = FACTS.jobs;
const FOLDER = quoted(FACTS.folder);
const every = Array.from(SAMPLES.id.keys());
const everyJob = Array.from(JOBS.row.keys());

const sample = {
  state: (i) => STATES[SAMPLES.state[i]],
  label: (i) => SAMPLES.labels[SAMPLES.label[i]] ?? "",
  sensor: (i) => SAMPLES.sensors[SAMPLES.sensor[i]] ?? "",
  reason: (i) => SAMPLES.reasons[SAMPLES.reason[i]] ?? "",
};
const jobOfRow = new Map(everyJob.map((j) => [JOBS.row[j], j]));
const samplesOfJob = everyJob.map(() => []);
every.forEach((i) => samplesOfJob[jobOfRow.get(SAMPLES.row[i])]?.push(i));
const job = {
  state: (j) => JOB_STATES[JOBS.state[j]],
  backend: (j) => JOBS.backends[JOBS.backend[j]] ?? "",
  kind: (j) => JOBS.kinds[JOBS.kind[j]] ?? "",
  message: (j) => JOBS.messages[JOBS.message[j]] ?? "",
  stands: (j) => stateText(job.state(j), job.state(j) === "partly" ? `${JOBS.status[j]}, in part` : JOBS.status[j]),
};

// --- the account
function showAccount() {
  const { sums } = FACTS;
  const counts = STATES.map((state) => sums[state]);
  const said = sums.received === sums.expected && sums.expected ? `All ${several(sums.expected, "sample")} received`
    : `${count(sums.received)} of ${several(sums.expected, "sample")} received`;
  const lacking = sums.missing + sums.rejected;
  const under = FACTS.running ? `The run goes on (${FACTS.running}); this is how it stood when the page was made.`
    : lacking ? `${several(lacking, "sample")} did not come: below is why, and what to do.`
    : sums.open ? `Nothing failed. Nobody runs it now, and ${several(sums.open, "sample")} ${sums.open === 1 ? "is" : "are"} still to come.`
    : "Nothing is missing, nothing was rejected.";
  $("verdict").append(said, make("small", {}, under));
  $("account-bar").setAttribute("aria-label", STATES.map((state, i) => `${count(counts[i])} ${state}`).join(", "));
  STATES.forEach((state, i) => {
    if (!counts[i]) return;
    const part = make("span", { class: `${state} fill`, title: `${count(counts[i])} ${state}` });
    part.style.flexGrow = counts[i];
    part.style.flexBasis = 0;
    $("account-bar").append(part);
  });
  const of = (number) => (sums.expected ? percent(number / sums.expected) : "");
  $("account-tiles").append(tile("expected", count(sums.expected), `in ${several(everyJob.length, "job")}`));
  for (const state of ["received", "missing", "rejected", "open"]) {
    if (state !== "open" || sums.open) $("account-tiles").append(tile(state, count(sums[state]), of(sums[state]), state));
  }
  const parts = ["received", "missing", "rejected", "open"].map((state) => count(sums[state])).join(" + ");
  $("account-note").textContent = `${parts} = ${count(sums.expected)}: each sample is in one state. Missing: no file came. `
    + "Rejected: a file came, did not pass the quality gates and lies in quarantine."
    + (sums.open ? " Open: nothing is decided yet." : "");
}

// --- what next
function showNext() {
  const { sums } = FACTS;
  const steps = $("next-steps");
  const step = (title, text, typed) => steps.append(make("div", { class: "card step" },
    make("div", { class: "head" }, make("strong", {}, title)), make("p", {}, text), typed ? command(typed) : null));
  if (sums.missing || FACTS.errors.length) {
    step("Try again", "Jobs that failed are made again, and files that are missing are fetched; what is finished is left alone.", `gfmap retry ${FOLDER}`);
  } else if (sums.open && !FACTS.running) {
    step("Go on", "The run was stopped before its end: the same command goes on where it stopped.", "gfmap run");
  }
  if (sums.rejected) {
    step("Decide on what was rejected", `${several(sums.rejected, "file")} did not pass the quality gates. Each lies in the folder quarantine with its reason beside it: mend what the reasons below say, or let the gates allow it.`);
  }
  if (sums.received) {
    if (!sums.missing && !sums.open) step("Look at it", "Contact sheets show the patches, their clouds and labels at a glance.", `gfmap preview ${FOLDER}`);
    step("Check the files", "Each file is compared with its checksum, and with the quality gates of the run.", `gfmap verify ${FOLDER}`);
  }
  if (FACTS.errors.length) $("errors").append(make("h3", {}, "Errors by kind"));
  for (const { kind, jobs, advice, examples } of FACTS.errors) {
    $("errors").append(make("article", { class: "card step" },
      make("div", { class: "head missing" }, make("strong", {}, stateText("failed", kind)), make("span", { class: "soft" }, several(jobs, "job")),
        make("button", { type: "button", class: "plain", onclick: () => onlyKind(kind) }, "Show these jobs")),
      make("p", {}, advice),
      make("details", {}, make("summary", {}, examples.length === 1 ? "Its message" : "Messages, for example"),
        make("ul", {}, examples.map(({ row, id, message }) => make("li", {}, rowButton(row), id ? ` (${id})` : "", `: ${message || "no message"}`))))));
  }
  if (FACTS.reasons.length) {
    $("reasons").append(make("h3", {}, "Why samples are missing or rejected"), smallTable("Reasons and numbers of samples",
      [["Samples", "number"], ["State"], ["Reason", "text"]],
      FACTS.reasons.map(({ samples, state, reason }) => [count(samples), stateText(state), reason])));
  }
}

const rowButton = (row) => make("button", { type: "button", class: "plain", onclick: () => openJob(jobOfRow.get(row), true) }, `job ${row}`);

// --- details
function detail(title, pairs, typed, focus) {
  $("details").replaceChildren(make("h3", {}, title), facts(pairs), typed ? command(typed) : "");
  if (focus) {
    $("details").focus({ preventScroll: true });
    $("map-box").parentNode.scrollIntoView({ block: "start" });
  }
}

function fileLink(path) {
  if (!path || FACTS.base === null) return path;
  return make("a", { href: FACTS.base + path.split("/").map(encodeURIComponent).join("/") }, path);
}

function tellSample(i, focus = false) {
  const j = jobOfRow.get(SAMPLES.row[i]);
  const { x, y } = { x: SAMPLES.x[i], y: SAMPLES.y[i] };
  const typed = sample.state(i) === "received" ? `gfmap preview ${FOLDER} --sample ${quoted(SAMPLES.id[i])}` : `gfmap logs ${SAMPLES.row[i]} ${FOLDER}`;
  detail(SAMPLES.id[i], [
    ["State", stateText(sample.state(i))], ["Reason", sample.reason(i)], ["Label", sample.label(i)],
    ["Sensor", sample.sensor(i)], ["Place", x === null ? "" : `${Math.abs(y)}° ${y < 0 ? "S" : "N"}, ${Math.abs(x)}° ${x < 0 ? "W" : "E"}`], ["File", fileLink(SAMPLES.path[i])],
    ["Job", rowButton(SAMPLES.row[i])], ["Job is", job.stands(j)],
  ], typed, focus);
}

function tellJob(j, focus = false) {
  detail(`Job ${JOBS.row[j]}`, [
    ["State", job.stands(j)], ["Title", JOBS.title[j]], ["Id", JOBS.id[j]], ["Back-end", job.backend(j)],
    ["Samples", JOBS.counts[j].map((number, s) => (number ? `${count(number)} ${STATES[s]}` : "")).filter(Boolean).join(", ")],
    ["Error", job.kind(j)], ["Message", job.message(j)], ["Started", moment(JOBS.started[j])], ["Took", duration(JOBS.seconds[j])],
    ["Costs", amount(JOBS.costs[j])], ["Attempt", JOBS.attempt[j] > 1 ? JOBS.attempt[j] : ""],
  ], JOBS.id[j] || JOBS.message[j] !== null ? `gfmap logs ${JOBS.row[j]} ${FOLDER}` : null, focus);
}

function tellGroup(indices) {
  const counts = STATES.map((_, s) => indices.filter((i) => SAMPLES.state[i] === s).length);
  const rows = new Set(indices.map((i) => SAMPLES.row[i]));
  const button = make("button", { type: "button", onclick: () => map.fitTo(indices) }, "Zoom to them");
  detail(several(indices.length, "sample"), [
    ...STATES.map((state, s) => [stateText(state), counts[s] ? count(counts[s]) : ""]), ["Jobs", count(rows.size)],
  ], null);
  $("details").append(make("p", { class: "command" }, button));
}

function openSample(i) {
  map?.mark({ sample: i });
  tellSample(i, true);
}

function openJob(j, focus = true) {
  map?.mark({ job: j });
  tellJob(j, focus);
}

// --- map and table of samples
const placed = SAMPLES.x.some((x) => x !== null);
const map = placed ? makeMap($("canvas"), JSON.parse($("land").textContent),
  every.map((i) => ({ x: SAMPLES.x[i], y: SAMPLES.y[i], state: sample.state(i) })),
  everyJob.map((j) => ({ state: job.state(j), samples: samplesOfJob[j] })),
  (what) => {
    if (what.samples) tellGroup(what.samples);
    else if (what.sample === undefined) tellJob(what.job);
    else tellSample(what.sample);
  }) : null;
if (!placed) {
  $("map-box").hidden = $("map-keys").hidden = true;
} else {
  $("zoom-in").addEventListener("click", () => map.zoom(1.6));
  $("zoom-out").addEventListener("click", () => map.zoom(1 / 1.6));
  $("zoom-fit").addEventListener("click", () => map.fit());
  const lost = SAMPLES.x.filter((x) => x === null).length;
  if (lost) $("map-note").textContent = `${several(lost, "sample")} without a known place ${lost === 1 ? "is" : "are"} in the table only.`;
}

const sampleTable = pagedTable($("samples-table"), "Samples", [
  { name: "Sample", value: (i) => SAMPLES.id[i], show: (i) => make("button", { type: "button", class: "plain", onclick: () => openSample(i) }, SAMPLES.id[i]) },
  { name: "State", value: sample.state, show: (i) => stateText(sample.state(i)) },
  ...(SAMPLES.labels.length ? [{ name: "Label", value: sample.label, show: sample.label }] : []),
  ...(SAMPLES.sensors.length ? [{ name: "Sensor", value: sample.sensor, show: sample.sensor }] : []),
  { name: "Job", value: (i) => SAMPLES.row[i], show: (i) => SAMPLES.row[i] },
  { name: "Reason", kind: "text", value: sample.reason, show: sample.reason },
]);
const sampleStates = stateChips($("filter-states"), STATES, STATES.map((_, s) => every.filter((i) => SAMPLES.state[i] === s).length));
options($("filter-label"), "all labels", SAMPLES.labels);
options($("filter-sensor"), "all sensors", SAMPLES.sensors);
$("filter-label").parentNode.hidden = SAMPLES.labels.length < 2;
$("filter-sensor-box").hidden = SAMPLES.sensors.length < 2;

function filterSamples() {
  const states = sampleStates.shown();
  const [label, sensor] = [$("filter-label").value, $("filter-sensor").value];
  const text = $("filter-text").value.trim().toLowerCase();
  const found = every.filter((i) =>
    states[SAMPLES.state[i]]
    && (label === "" || SAMPLES.label[i] === Number(label))
    && (sensor === "" || SAMPLES.sensor[i] === Number(sensor))
    && (!text || [SAMPLES.id[i], sample.label(i), sample.reason(i), SAMPLES.path[i] ?? ""].some((each) => each.toLowerCase().includes(text))));
  const left = FACTS.sums.expected - every.length;
  $("filter-count").textContent = `${count(found.length)} of ${several(every.length, "sample")} shown`
    + (left ? `; ${count(left)} more that were received are counted above, and left out here to keep the page small.` : "");
  sampleTable.show(found);
  map?.show(found, new Set(found.map((i) => jobOfRow.get(SAMPLES.row[i]))));
}

function onlyLabel(label) {
  $("filter-label").value = SAMPLES.labels.indexOf(label);
  filterSamples();
  map?.fit();
  $("map").scrollIntoView();
}

// --- jobs
const jobTable = pagedTable($("jobs-table"), "Jobs", [
  { name: "Job", value: (j) => JOBS.row[j], show: (j) => rowButton(JOBS.row[j]) },
  { name: "State", value: (j) => JOBS.status[j], show: job.stands },
  { name: "Back-end", value: job.backend, show: job.backend },
  { name: "Samples", kind: "number", value: (j) => sum(JOBS.counts[j]), show: (j) => `${JOBS.counts[j][STATES.indexOf("received")]} of ${sum(JOBS.counts[j])}` },
  { name: "Time", kind: "number", value: (j) => JOBS.seconds[j], show: (j) => duration(JOBS.seconds[j]) },
  { name: "Costs", kind: "number", value: (j) => JOBS.costs[j], show: (j) => amount(JOBS.costs[j]) },
  { name: "Error", value: job.kind, show: job.kind },
  { name: "Message", kind: "text", value: job.message, show: job.message },
]);
const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
const jobStates = stateChips($("job-states"), JOB_STATES, JOB_STATES.map((_, s) => everyJob.filter((j) => JOBS.state[j] === s).length));
options($("job-kind"), "all", JOBS.kinds);
$("job-kind-box").hidden = !JOBS.kinds.length;

function filterJobs() {
  const states = jobStates.shown();
  const kind = $("job-kind").value;
  const text = $("job-text").value.trim().toLowerCase();
  const found = everyJob.filter((j) =>
    states[JOBS.state[j]]
    && (kind === "" || JOBS.kind[j] === Number(kind))
    && (!text || [`job ${JOBS.row[j]}`, JOBS.id[j] ?? "", JOBS.title[j] ?? "", job.backend(j), job.message(j)].some((each) => each.toLowerCase().includes(text))));
  $("job-count").textContent = `${count(found.length)} of ${several(everyJob.length, "job")} shown`;
  jobTable.show(found);
}

function onlyKind(kind) {
  jobStates.all();
  $("job-kind").value = JOBS.kinds.indexOf(kind);
  filterJobs();
  $("jobs").scrollIntoView();
}

function listen(form, filter) {
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter)); // once its fields are as they were
}

// --- costs, time, what was asked for
function showCosts() {
  const { costs } = FACTS;
  const tiles = $("costs-tiles");
  const timed = everyJob.filter((j) => JOBS.seconds[j] !== null);
  const priced = everyJob.filter((j) => JOBS.costs[j]);
  const middle = timed.map((j) => JOBS.seconds[j]).sort((a, b) => a - b)[Math.floor(timed.length / 2)];
  tiles.append(tile("Spent", costs.spent ? amount(costs.spent) : "none known", costs.spent ? "credits, or what the back-ends bill" : "the back-ends name no costs"));
  if (costs.past) tiles.append(tile("Of that, failed before", amount(costs.past), "jobs that were made again"));
  if (costs.spent && FACTS.sums.received) tiles.append(tile("A sample received", amount(costs.spent / FACTS.sums.received), "on average"));
  if (costs.left) tiles.append(tile("Still to come", `about ${amount(costs.left)}`, "by what finished jobs cost"));
  for (const [what, sums] of [["on", costs.by_backend], ["for", costs.by_recipe]]) {
    const entries = Object.entries(sums);
    if (entries.length > 1) for (const [name, spent] of entries) tiles.append(tile(`${what} ${name}`, amount(spent), percent(spent / costs.spent)));
  }
  if (timed.length) tiles.append(tile("A job takes", duration(middle), `half of ${several(timed.length, "job")} took longer`));
  const top = (list, key, show) => [...list].sort((a, b) => key[b] - key[a]).slice(0, 8).map((j) => [rowButton(JOBS.row[j]), job.backend(j), `${sum(JOBS.counts[j])}`, show(key[j])]);
  const heads = (name) => [["Job"], ["Back-end"], ["Samples", "number"], [name, "number"]];
  const put = (id, list, key, show, name, caption) => {
    if (list.length) $(id).append(smallTable(caption, heads(name), top(list, key, show)));
    else $(id).parentNode.hidden = true;
  };
  put("costliest", priced, JOBS.costs, amount, "Costs", "The jobs that cost most");
  put("slowest", timed, JOBS.seconds, duration, "Time", "The jobs that took longest");
}

/** A value as a reader would write it; what is in parts becomes a list of its own. */
function told(value) {
  if (value === null || value === "") return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "object") return String(value);
  if (!Array.isArray(value)) return named(value);
  if (value.some((each) => each !== null && typeof each === "object")) {
    return make("ul", {}, value.map((each) => make("li", {}, told(each))));
  }
  return value.join(", ");
}

const named = (fields) => facts(Object.entries(fields).map(([name, value]) => [name.replaceAll("_", " "), told(value)]));

function showAsked() {
  const last = FACTS.runs.at(-1) ?? {};
  const begun = FACTS.runs.map(({ began, ended }) => `${moment(began)} to ${ended ? moment(ended) : FACTS.running ? "now" : "an end that was not noted (it was killed)"}`);
  const box = $("asked-body");
  box.className = "two asked";
  if (Object.keys(FACTS.asked).length) box.append(make("div", { class: "card" }, make("h3", {}, "Settings"), named(FACTS.asked)));
  box.append(make("div", { class: "card" }, make("h3", {}, "Runs and versions"),
    facts([["Folder", FACTS.folder], ["Tracker", FACTS.tracker], ["Run (UTC)", begun.length ? make("ul", {}, begun.map((each) => make("li", {}, each))) : "not noted"], ...Object.entries(last.software ?? {})])));
}

// --- light and dark
const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
function nameTheme() {
  $("theme").textContent = isDark() ? "Light colours" : "Dark colours";
  map?.recolour();
}
$("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
dark.addEventListener("change", nameTheme);
// Paper is white; the map has to be drawn for it.
let themeOnScreen;
addEventListener("beforeprint", () => {
  themeOnScreen = root.dataset.theme;
  root.dataset.theme = "light";
  map?.recolour();
});
addEventListener("afterprint", () => {
  if (themeOnScreen) root.dataset.theme = themeOnScreen;
  else delete root.dataset.theme;
  map?.recolour();
});

showAccount();
showNext();
if (FACTS.classes.length) classBalance($("classes-body"), FACTS.classes, onlyLabel);
else $("classes-body").append(make("p", { class: "soft" }, "The samples have no label that the report knows."));
if (FACTS.months.length) monthChart($("dates-body"), FACTS.months);
else $("dates-body").append(make("p", { class: "soft" }, "No file with dates is in the catalogue yet."));
if (FACTS.looked_at) $("dates-body").append(make("p", { class: "soft" }, `Clouds: as the scene classification of ${several(FACTS.looked_at, "patch", "patches")} has them${FACTS.looked_at < FACTS.sums.received ? ", evenly chosen" : ""}.`));
showCosts();
showAsked();
listen($("filters"), filterSamples);
listen($("job-filters"), filterJobs);
filterSamples();
filterJobs();
nameTheme();
