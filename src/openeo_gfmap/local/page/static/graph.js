// A process graph as a list of its nodes, each after those that it takes from.

import { copier, h } from "./dom.js";

const LONGEST = 160;
const LONGEST_RAW = 200000;

/** @param {object} process  with process_graph */
export function graphOf(process) {
  const text = JSON.stringify(process, null, 2);
  const raw = text.length > LONGEST_RAW ? `${text.slice(0, LONGEST_RAW)}\n… copy it to see all` : text;
  return h("div", {},
    nodesOf(process.process_graph ?? {}),
    h("details", {}, h("summary", {}, "As JSON"), copier("Copy", text), h("pre", { tabindex: "0" }, raw)));
}

function nodesOf(graph) {
  return h("ol", { class: "graph" }, ordered(graph).map(([id, node]) =>
    h("li", {},
      h("div", { class: "node" }, h("b", {}, String(node.process_id)), " ", h("span", { class: "under" }, id),
        node.result ? h("span", { class: "badge" }, "result") : null),
      h("dl", {}, Object.entries(node.arguments ?? {}).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, argument(value))))))));
}

/** Nodes behind those they depend on; in the order given where that is free. */
function ordered(graph) {
  const done = new Set();
  const out = [];
  // Not recursive: a graph of ten thousand nodes in a row is a graph.
  for (const start of Object.keys(graph)) {
    const stack = [[start, false]];
    while (stack.length) {
      const [id, ready] = stack.pop();
      if (ready) out.push([id, graph[id]]);
      if (ready || done.has(id) || !graph[id]) continue;
      done.add(id);
      stack.push([id, true]);
      for (const source of sources(graph[id].arguments).reverse()) stack.push([source, false]);
    }
  }
  return out;
}

function sources(value) {
  if (value === null || typeof value !== "object") return [];
  if (typeof value.from_node === "string") return [value.from_node];
  if (value.process_graph) return [];
  return Object.values(value).flatMap(sources);
}

function argument(value) {
  if (value !== null && typeof value === "object") {
    if (typeof value.from_node === "string") return h("span", { class: "ref" }, `← ${value.from_node}`);
    if (typeof value.from_parameter === "string") return h("span", { class: "ref" }, `parameter ${value.from_parameter}`);
    if (value.process_graph) return nodesOf(value.process_graph);
    if (Array.isArray(value) && value.some((each) => typeof each?.from_node === "string")) {
      return h("span", { class: "ref" }, value.map((each) => each?.from_node ? `← ${each.from_node}` : JSON.stringify(each)).join(", "));
    }
  }
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text.length <= LONGEST && !text.includes("\n")) return h("code", {}, text);
  const whole = text.length > LONGEST_RAW ? `${text.slice(0, LONGEST_RAW)} …` : text;
  return h("details", {}, h("summary", {}, h("code", {}, `${text.trim().split("\n")[0].slice(0, 100)} …`)), h("pre", { tabindex: "0" }, whole));
}
