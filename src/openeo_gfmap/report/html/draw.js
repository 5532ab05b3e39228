"use strict";
// Small things that all parts of the page draw with. Texts from outside only ever become text nodes.

const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, ...children) {
  const isSvg = parent.namespaceURI === SVG || name === "svg";
  const element = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  parent.append(element);
  return element;
}

const number = (value) => Number(value).toLocaleString("en");
const amount = (value) =>
  value >= 1000 || Number.isInteger(value) ? number(Math.round(value)) : Number(value.toPrecision(4)).toString();

function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part === whole ? 0 : 1)} %` : "");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

// A state is told by a mark as well as by a colour.
const STATES = { received: "●", missing: "✕", rejected: "▲", open: "○" };
const colour = (state) => getComputedStyle(document.documentElement).getPropertyValue(`--${state}`).trim();

function mark(state) {
  const span = document.createElement("span");
  span.className = `mark is-${state}`;
  span.setAttribute("aria-hidden", "true");
  span.textContent = STATES[state];
  return span;
}

function bars(parent, rows, text) {
  const grid = add(parent, "div", { class: "bars" });
  for (const row of rows) {
    add(grid, "span", { class: "name", title: row.name }, row.name);
    const bar = add(grid, "span", { class: "bar", "aria-hidden": "true" });
    for (const [state, part] of row.parts) {
      add(bar, "span", { class: `bg-${state}`, style: `width:${100 * part}%` });
    }
    add(grid, "span", { class: "quiet" }, text(row));
  }
}

function pairs(parent, entries) {
  const list = add(parent, "dl");
  for (const [name, value] of entries) {
    if (value === null || value === undefined || value === "") continue;
    add(list, "dt", {}, name);
    add(list, "dd", {}, value);
  }
}
