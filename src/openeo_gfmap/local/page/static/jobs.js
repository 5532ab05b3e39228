// The list of jobs, kept up to date in place.

import { get } from "./api.js";
import { ago, arrange, count, duration, gibibytes, h, moment, say } from "./dom.js";

const STATES = ["running", "queued", "finished", "error", "canceled", "created"];
const PAGE = 200;
const SECONDS_BETWEEN_LISTS = 15;

export function jobsView() {
  let jobs = []; // the newest first
  let next = null; // address of the page of older ones
  let known = ""; // what /status said when the list was fetched
  let fetched = 0;
  let state = "";
  let last = { running: [], queued: [], jobs: {} };
  const rows = new Map();

  const search = h("input", {
    type: "search", placeholder: "Title, id, user or queue", "aria-label": "Find jobs",
    oninput: () => draw(),
  });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Jobs by state" });
  const buttons = new Map(
    ["", ...STATES].map((name) => [
      name,
      h("button", { type: "button", class: "chip", "data-state": name || "all",
        onclick: () => { state = name; draw(); } }),
    ]),
  );
  chips.append(...buttons.values());
  const list = h("ul", { class: "jobs" });
  const empty = h("div", { class: "empty", hidden: true });
  const older = h("button", { type: "button", class: "quiet", hidden: true, onclick: loadOlder });
  const element = h("section", {}, h("h1", {}, "Jobs"),
    h("div", { class: "tools" }, chips, search), list, empty, older);

  async function refresh(status) {
    last = status;
    const now = Date.now() / 1000;
    const told = JSON.stringify([status.jobs, status.running.map((job) => job.id)]);
    if (told !== known || now - fetched > SECONDS_BETWEEN_LISTS) {
      const page = await get(`jobs?limit=${PAGE}`);
      const first = new Set(page.jobs.map((job) => job.id));
      const total = Object.values(status.jobs).reduce((sum, n) => sum + n, 0);
      // Pages that were asked for stay; what was deleted from them goes when all are on one page.
      const kept = total > page.jobs.length ? jobs.filter((job) => !first.has(job.id)) : [];
      if (kept.length === 0) next = pathOf(page.links);
      jobs = [...page.jobs, ...kept];
      known = told;
      fetched = now;
    }
    draw();
  }

  async function loadOlder() {
    const page = await get(next);
    const there = new Set(jobs.map((job) => job.id));
    jobs = [...jobs, ...page.jobs.filter((job) => !there.has(job.id))];
    next = pathOf(page.links);
    draw();
  }

  function draw() {
    const working = new Map(last.running.map((job) => [job.id, job]));
    const waiting = new Map(last.queued.map((job, place) => [job.id, { ...job, place: place + 1 }]));
    for (const [name, button] of buttons) {
      const number = name
        ? last.jobs[name] ?? 0
        : Object.values(last.jobs).reduce((sum, n) => sum + n, 0);
      say(button, `${name || "all"} ${number.toLocaleString("en")}`);
      button.setAttribute("aria-pressed", String(state === name));
    }
    const wanted = search.value.trim().toLowerCase();
    const shown = jobs.filter((job) => {
      const more = working.get(job.id) ?? waiting.get(job.id) ?? {};
      const text = [job.title, job.id, more.user, more.queue].filter(Boolean).join(" ").toLowerCase();
      return (!state || job.status === state) && text.includes(wanted);
    });
    arrange(list, shown.map((job) => {
      if (!rows.has(job.id)) rows.set(job.id, jobRow(job.id));
      const row = rows.get(job.id);
      row.update(job, working.get(job.id), waiting.get(job.id));
      return row.element;
    }));
    empty.hidden = shown.length > 0;
    if (!empty.hidden) empty.replaceChildren(jobs.length ? nothingFound() : nothingYet());
    older.hidden = next === null;
    say(older, `Load older jobs (${count(jobs.length, "job")} here)`);
  }

  return { element, refresh };
}

function nothingFound() {
  return h("p", {}, "No job here is like that.");
}

function nothingYet() {
  const code = `from openeo_gfmap.backend import local_connection

connection = local_connection()
cube = connection.load_collection(
    "SENTINEL2_L2A",
    spatial_extent={"west": 5.0, "south": 51.2, "east": 5.01, "north": 51.21},
    temporal_extent=["2021-05-01", "2021-06-01"],
    bands=["B04", "B08"],
)
cube.create_job(out_format="NetCDF", title="First").start()`;
  return h("div", {}, h("p", {}, "No jobs yet. This makes one:"), h("pre", { tabindex: "0" }, code));
}

function pathOf(links) {
  const link = links.find((each) => each.rel === "next");
  return link ? `jobs${new URL(link.href).search}` : null;
}

/** One job's line, and how to bring it up to date. */
function jobRow(id) {
  const title = h("a", { href: `#/jobs/${encodeURIComponent(id)}` });
  const under = h("span", { class: "under" });
  const badge = h("span", { class: "badge" });
  const progress = h("progress", { max: 100, "aria-label": "Progress" });
  const detail = h("span", { class: "detail" });
  const time = h("time");
  const element = h("li", {}, h("div", { class: "what" }, title, under), badge,
    h("div", { class: "how" }, progress, detail), time);

  function update(job, work, wait) {
    const status = work ? "running" : job.status;
    const percent = work ? work.progress : job.progress ?? 0;
    say(title, job.title || job.id);
    say(under, job.title ? job.id : "");
    say(badge, status);
    badge.dataset.state = status;
    progress.hidden = status !== "running";
    progress.value = percent;
    say(detail, detailOf(work, wait, percent));
    time.dateTime = job.updated;
    time.title = moment(job.updated);
    say(time, ago(job.updated));
  }
  return { element, update };
}

function detailOf(work, wait, percent) {
  if (work) {
    return [`${Math.round(percent)} %`, duration(work.seconds), workersOf(work),
      gibibytes(work.memory), named(work)].filter(Boolean).join(" · ");
  }
  return wait ? [wait.place === 1 ? "next in the queue" : `number ${wait.place} in the queue`, named(wait)].filter(Boolean).join(" · ") : "";
}

function named(job) {
  return [job.user ? `user ${job.user}` : "", job.queue ? `queue ${job.queue}` : ""].filter(Boolean).join(", ");
}

export function workersOf(work) {
  if (work.cluster) {
    const { workers, threads } = work.cluster;
    return `${count(workers.length, "worker")}, ${count(threads, "thread")}`;
  }
  return count(work.processes, "process", "processes");
}
