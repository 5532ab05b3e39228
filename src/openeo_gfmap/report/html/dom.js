// Elements, numbers and states. Texts come from outside: they only ever become text nodes.

const $ = (id) => document.getElementById(id);

/** Make an element: attributes and listeners by name, then texts and other elements. */
function make(name, settings = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(settings)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) =>
    child instanceof Node ? child : String(child)));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const whole = new Intl.NumberFormat("en");
const count = (number) => whole.format(number);
const amount = (number) =>
  number === null ? "" : new Intl.NumberFormat("en", { maximumFractionDigits: number < 10 ? 2 : 0 }).format(number);
const percent = (share) => {
  const value = 100 * share;
  // Neither "100 %" of what is incomplete nor "0 %" of something.
  if (value > 99 && value < 100) return `${Math.floor(value * 10) / 10} %`;
  if (value > 0 && value < 1) return "under 1 %";
  return `${Math.round(value)} %`;
};
const several = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const moment = (text) => (text ? String(text).slice(0, 16).replace("T", " ") : "");

/** A text as a shell takes it for one word. */
const quoted = (text) => (/^[\w./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** Paths in a box of 12 by 12, the same in tables and on the map. */
const SIGNS = {
  circle: "M6 1.5A4.5 4.5 0 1 1 6 10.5A4.5 4.5 0 1 1 6 1.5Z",
  ring: "M6 1A5 5 0 1 1 6 11A5 5 0 1 1 6 1ZM6 3A3 3 0 1 0 6 9A3 3 0 1 0 6 3Z",
  cross: "M2.6 .9L6 4.3 9.4 .9 11.1 2.6 7.7 6 11.1 9.4 9.4 11.1 6 7.7 2.6 11.1 .9 9.4 4.3 6 .9 2.6Z",
  triangle: "M6 .8L11.6 10.8 .4 10.8Z",
};
const SIGN_OF = {
  received: "circle", missing: "cross", rejected: "triangle", open: "ring",
  finished: "circle", failed: "cross", partly: "triangle", active: "ring", waiting: "ring", skipped: "ring",
};

function sign(state) {
  const path = svg("path", { d: SIGNS[SIGN_OF[state]], fill: "var(--c)" });
  return svg("svg", { viewBox: "0 0 12 12", class: `sign ${state}`, "aria-hidden": "true" }, path);
}

const stateText = (state, word = state) => make("span", { class: "state" }, sign(state), word);

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: "facts" }, known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function tile(name, value, under = "", state = "") {
  return make("div", { class: state }, make("dt", {}, state ? stateText(state, name) : name), make("dd", {}, value),
    under ? make("dd", {}, under) : null);
}

/** A command to type, with a button that copies it. */
function command(text) {
  const button = make("button", { type: "button", "aria-label": `Copy ${text}` }, "Copy");
  const code = make("code", {}, text);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Browsers refuse it to pages from a disk: then it is marked, to be copied by hand.
      getSelection().selectAllChildren(code);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return make("div", { class: "command" }, code, button);
}

function options(select, all, values) {
  select.replaceChildren(make("option", { value: "" }, all), ...values.map((text, index) =>
    make("option", { value: index }, text)));
}

/** Chips to show or hide states; returns those that are shown. */
function stateChips(box, states, counts) {
  const boxes = states.map((state) => make("input", { type: "checkbox", value: state, checked: true }));
  states.forEach((state, index) => {
    if (!counts[index]) return;
    box.append(make("label", { class: state }, boxes[index], sign(state), make("span", {}, `${state} ${count(counts[index])}`)));
  });
  return {
    shown: () => boxes.map((each) => each.checked),
    only: (state) => boxes.forEach((each) => { each.checked = each.value === state; }),
    all: () => boxes.forEach((each) => { each.checked = true; }),
  };
}
