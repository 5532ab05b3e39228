// One job: state and steering, results with previews, process graph, log.

import { act, get } from "./api.js";
import { bytes, confirmed, copier, count, duration, gibibytes, h, say, when } from "./dom.js";
import { graphOf } from "./graph.js";
import { workersOf } from "./jobs.js";
import { logPanel } from "./log.js";
import { resultsPanel } from "./results.js";

const ACTIVE = ["queued", "running"];
const USAGE = { cpu: "CPU time", duration: "Duration", max_memory: "Most memory" };

/**
 * @param {string} id
 * @param {() => Promise<void>} look  looks at the server at once, after a change made here
 */
export function jobView(id, look) {
  const path = `jobs/${encodeURIComponent(id)}`;
  let job = null;
  let stale = true; // whether the description is to be asked for
  let counts = "";
  let failed = false; // whether the problem that is shown is that of an action

  const title = h("h1", {}, id);
  const name = h("code", { class: "under" }, id);
  const badge = h("span", { class: "badge" });
  const progress = h("progress", { max: 100, "aria-label": "Progress", hidden: true });
  const now = h("p", { class: "now", "aria-live": "off" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const actions = h("div", { class: "actions" });
  const facts = h("dl", { class: "facts" });
  const graph = h("div");
  const log = logPanel(path);
  const results = resultsPanel(id, path);
  const element = h(
    "section", { class: "job" },
    h("p", { class: "back" }, h("a", { href: "#/jobs" }, "← All jobs")),
    h("div", { class: "head" }, title, badge),
    name, progress, now, problem, actions, facts,
    results.element,
    h("section", { class: "card" }, h("h2", {}, "Process graph"), graph),
    log.element,
  );

  async function refresh(status) {
    const work = status.running.find((each) => each.id === id);
    const wait = status.queued.findIndex((each) => each.id === id);
    const seen = work ? "running" : wait >= 0 ? "queued" : null;
    const told = JSON.stringify(status.jobs);
    const active = job !== null && ACTIVE.includes(job.status);
    // The description holds the whole process, which may be large: asked for when there is news.
    // A short job may come and go between two looks; then the counts tell.
    if (stale || told !== counts || (seen ?? (active ? null : job.status)) !== job.status) {
      stale = false;
      counts = told;
      const first = job === null;
      job = await get(path);
      describe(first);
    }
    showNow(work, wait);
    await log.refresh(ACTIVE.includes(job.status), job.updated);
    if (job.status === "error" && log.error) complain(log.error);
    else if (!failed) problem.hidden = true;
    await results.refresh(job);
  }

  function describe(first) {
    say(title, job.title || id);
    name.hidden = !job.title;
    say(badge, job.status);
    badge.dataset.state = job.status;
    actions.replaceChildren(...buttons());
    const usage = job.usage ?? {};
    const told = [
      ["Description", job.description],
      ["Created", when(job.created)],
      ["Updated", when(job.updated)],
      ["Plan", job.plan],
      ["Log level", job.log_level],
      ...Object.entries(usage).map(([name, { value, unit }]) => [USAGE[name] ?? name, measure(value, unit)]),
      ...Object.entries(job.job_options ?? {}).map(([name, value]) => [name, textOf(value)]),
    ];
    facts.replaceChildren(
      ...told.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
    if (first) graph.replaceChildren(graphOf(job.process));
  }

  function showNow(work, wait) {
    progress.hidden = !work;
    progress.value = work?.progress ?? 0;
    const parts = [];
    if (work) {
      parts.push(`${Math.round(work.progress)} %`, `at work for ${duration(work.seconds)}`, workersOf(work),
        gibibytes(work.memory), `${duration(work.cpu_seconds)} of CPU`, left(work));
    } else if (wait >= 0) {
      parts.push(wait ? `${count(wait, "job")} before it` : "next in the queue");
    }
    say(now, parts.filter(Boolean).join(" · "));
  }

  function complain(message) {
    say(problem, message);
    problem.hidden = false;
  }

  function buttons() {
    const active = ACTIVE.includes(job.status);
    return [
      active ? null : h("button", { type: "button", class: "main", onclick: () => steer("POST", "/results") },
        job.status === "created" ? "Start" : "Start again"),
      active ? h("button", { type: "button", onclick: cancel }, "Cancel") : null,
      copier("Copy as Python", () => `connection.job("${id}")`),
      h("button", { type: "button", class: "quiet danger", onclick: remove }, "Delete"),
    ].filter(Boolean);
  }

  async function steer(method, rest) {
    if (job.status === "finished") {
      const go = await confirmed("Start it again?", "Its results are removed and made anew.", "Start again");
      if (!go) return;
    }
    await attempt(method, rest);
  }

  async function cancel() {
    const go = await confirmed("Cancel this job?", "What it has done so far is lost.", "Cancel the job");
    if (go) await attempt("DELETE", "/results");
  }

  async function remove() {
    const detail = "Its process graph, log and result files are removed from this machine.";
    if (!(await confirmed("Delete this job?", detail, "Delete"))) return;
    if (await attempt("DELETE", "")) location.hash = "#/jobs";
  }

  async function attempt(method, rest) {
    failed = false;
    try {
      await act(method, path + rest);
    } catch (error) {
      failed = true;
      complain(error.message);
      return false;
    }
    stale = true;
    if (rest) await look();
    return true;
  }

  return { element, refresh, close: results.close };
}

/** A guess from the progress so far, once there is some. */
function left(work) {
  if (work.progress < 5 || work.progress >= 100 || work.seconds < 5) return "";
  return `about ${duration((work.seconds * (100 - work.progress)) / work.progress)} left`;
}

function measure(value, unit) {
  if (unit === "seconds" || unit === "cpu-seconds") return duration(value);
  if (unit === "mb-seconds") return ""; // means something to accountants only
  if (unit === "mb") return bytes(value * 1e6);
  return `${value.toLocaleString("en")} ${unit ?? ""}`;
}

function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

