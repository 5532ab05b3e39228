// The files of a finished job, with small pictures of those that are pictures.

import { get, preview, start } from "./api.js";
import { bytes, count, h, say } from "./dom.js";

const PICTURES = /^(application\/(x-)?netcdf|image\/(tiff|png|jpeg))/;
const TEXTS = /^(application\/(geo\+)?json|text\/)/;
const START = 4000;
const FIRST = 60; // more files than that are shown when asked for
const AT_ONCE = 2;

export function resultsPanel(id, path) {
  let shownFor = null;
  const grid = h("ul", { class: "results" });
  const sum = h("span", { class: "under" });
  const more = h("button", { type: "button", class: "quiet", hidden: true });
  const element = h("section", { class: "card", hidden: true },
    h("div", { class: "head" }, h("h2", {}, "Results"), sum), grid, more);
  const pictures = pictureQueue(id);

  async function refresh(job) {
    element.hidden = job.status !== "finished";
    const key = element.hidden ? null : job.updated;
    if (key === shownFor) return;
    shownFor = key;
    grid.replaceChildren();
    if (key === null) return;
    const found = await get(`${path}/results`);
    const assets = Object.entries(found.assets);
    const total = assets.reduce((size, [, asset]) => size + (asset["file:size"] ?? 0), 0);
    say(sum, `${count(assets.length, "file")}${total ? `, ${bytes(total)}` : ""}. Links work for seven days.`);
    const add = (several) => grid.append(...several.map(([name, asset]) => card(name, asset)));
    add(assets.slice(0, FIRST));
    more.hidden = assets.length <= FIRST;
    say(more, `Show all ${count(assets.length, "file")}`);
    more.onclick = () => { add(assets.slice(FIRST)); more.hidden = true; };
  }

  function card(name, asset) {
    const type = asset.type ?? "";
    const size = asset["file:size"];
    const item = h("li", {});
    if (PICTURES.test(type)) item.append(pictures.frame(name));
    item.append(h("div", { class: "file" },
      h("a", { href: asset.href, download: name.split("/").at(-1) }, name),
      h("span", { class: "under" }, [type.split(";")[0], size ? bytes(size) : ""].filter(Boolean).join(" · ")),
      TEXTS.test(type) ? reader(asset.href) : null,
    ));
    return item;
  }

  return { element, refresh, close: pictures.close };
}

/** A button that shows the beginning of a text file. */
function reader(link) {
  const text = h("pre", { tabindex: "0", hidden: true });
  const button = h("button", { type: "button", class: "quiet", "aria-expanded": "false" }, "Show");
  button.addEventListener("click", async () => {
    if (!text.textContent) {
      try {
        // By path: a proxy may give the server another name than this page has.
        const { pathname, search } = new URL(link);
        const begin = await start(pathname + search, START);
        text.textContent = begin.length >= START ? `${begin}\n…` : begin;
      } catch (error) {
        text.textContent = error.message;
      }
    }
    text.hidden = !text.hidden;
    button.setAttribute("aria-expanded", String(!text.hidden));
    button.textContent = text.hidden ? "Show" : "Hide";
  });
  return h("div", {}, button, text);
}

/** Pictures are made by the server when they come into sight, two at a time. */
function pictureQueue(id) {
  const waiting = [];
  const made = [];
  let working = 0;
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      observer.unobserve(entry.target);
      waiting.push(entry.target);
    }
    next();
  }, { rootMargin: "200px" });

  function next() {
    while (working < AT_ONCE && waiting.length > 0) load(waiting.shift());
  }

  async function load(frame) {
    working += 1;
    try {
      const url = await preview(id, frame.dataset.name);
      made.push(url);
      frame.replaceChildren(h("img", { src: url, alt: `Preview of ${frame.dataset.name}` }));
    } catch (error) {
      frame.replaceChildren(h("span", { title: error.message }, "no preview"));
    } finally {
      working -= 1;
      next();
    }
  }

  function frame(name) {
    const place = h("div", { class: "picture", "data-name": name });
    observer.observe(place);
    return place;
  }

  function close() {
    observer.disconnect();
    waiting.length = 0;
    made.forEach((url) => URL.revokeObjectURL(url));
  }

  return { frame, close };
}
