// A job's log, read on from where it ended.

import { get } from "./api.js";
import { count, h, say } from "./dom.js";

const LEVELS = ["debug", "info", "warning", "error"];
const PAGE = 1000;
const MOST_LINES = 20000;

/** @param {string} path  of the job, below the API root */
export function logPanel(path) {
  let offset = 0;
  let readFor = null; // the state of the job for which all was read
  let error = ""; // the last one
  const list = h("ol", { class: "log", tabindex: "0", "aria-label": "Log entries", "data-least": "info" });
  const note = h("p", { class: "under" });
  const level = h(
    "select", { "aria-label": "Least level", onchange: () => { list.dataset.least = level.value; tell(); } },
    LEVELS.map((name) => h("option", { value: name, selected: name === "info" }, `${name} and above`)),
  );
  const element = h("section", { class: "card" },
    h("div", { class: "head" }, h("h2", {}, "Log"), level), list, note);

  async function refresh(active, updated) {
    if (!active && readFor === updated) return;
    let more = true;
    while (more) {
      const page = await get(`${path}/logs?offset=${offset}&limit=${PAGE}`);
      if (page.logs.length === 0) break;
      add(page.logs);
      offset = Number(page.logs.at(-1).id);
      more = page.links.some((link) => link.rel === "next") && list.children.length < MOST_LINES;
    }
    readFor = active ? null : updated;
    tell();
  }

  function add(entries) {
    error = entries.findLast((entry) => entry.level === "error")?.message ?? error;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...entries.map((entry) => h(
      "li", { "data-level": entry.level },
      h("time", { datetime: entry.time, title: entry.time ?? "" }, clock(entry.time)),
      h("span", { class: "level" }, entry.level),
      h("span", { class: "message" }, entry.code ? `${entry.code}: ${entry.message}` : entry.message),
    )));
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  function tell() {
    const least = LEVELS.indexOf(list.dataset.least);
    const lines = [...list.children];
    const shown = lines.filter((line) => LEVELS.indexOf(line.dataset.level) >= least).length;
    const rest = lines.length >= MOST_LINES ? `; only the first ${MOST_LINES.toLocaleString("en")} are shown here` : "";
    say(note, lines.length ? `${count(shown, "entry", "entries")} of ${lines.length.toLocaleString("en")}${rest}` : "Nothing was logged yet.");
  }

  return { element, refresh, get error() { return error; } };
}

function clock(time) {
  const read = new Date(time);
  return Number.isNaN(read.valueOf()) ? "" : read.toLocaleTimeString(undefined, { hour12: false });
}
