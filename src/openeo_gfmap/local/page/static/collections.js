// The collections: what there is to load, and how.

import { get } from "./api.js";
import { copier, count, h, say } from "./dom.js";

export function collectionsView() {
  const list = h("ul", { class: "cards" });
  const element = h("section", {}, h("h1", {}, "Collections"), list);
  let loaded = false;

  async function refresh() {
    if (loaded) return;
    const { collections } = await get("collections");
    loaded = true;
    list.replaceChildren(...collections.map((each) => h("li", { class: "card" },
      h("h2", {}, h("a", { href: `#/collections/${encodeURIComponent(each.id)}` }, each.id)),
      h("p", {}, each.title ?? ""),
      h("p", { class: "under" }, [period(each), bandsOf(each).length ? count(bandsOf(each).length, "band") : ""].filter(Boolean).join(" · ")))));
    if (collections.length === 0) say(list, "The server was started without any.");
  }

  return { element, refresh };
}

export function collectionView(id) {
  const title = h("h1", {}, id);
  const body = h("div");
  const element = h("section", { class: "collection" },
    h("p", { class: "back" }, h("a", { href: "#/collections" }, "← All collections")), title, body);
  let loaded = false;

  async function refresh() {
    if (loaded) return;
    const found = await get(`collections/${encodeURIComponent(id)}`);
    loaded = true;
    body.replaceChildren(...describe(found));
  }

  return { element, refresh };
}

function describe(found) {
  const bands = bandsOf(found);
  const code = snippet(found, bands);
  const facts = [
    ["Title", found.title],
    ["Time", period(found)],
    ["Place", place(found)],
    ["Licence", found.license],
    ["Providers", (found.providers ?? []).map((each) => each.name).join(", ")],
    ["Dimensions", Object.entries(found["cube:dimensions"] ?? {}).map(([name, each]) => `${name} (${each.type})`).join(", ")],
  ];
  return [
    ...String(found.description ?? "").split(/\n{2,}/).map((text) => h("p", { class: "prose" }, text.replaceAll("**", ""))),
    h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "Load it"), copier("Copy", code)),
      h("pre", { tabindex: "0" }, code)),
    bands.length ? bandTable(bands) : null,
  ].filter(Boolean);
}

function bandTable(bands) {
  const columns = [
    ["Band", (band) => h("code", {}, band.name)],
    ["Common name", (band) => band["eo:common_name"] ?? band.common_name ?? ""],
    ["Resolution", (band) => band.gsd ?? band["openeo:gsd"]?.value?.[0] ?? ""],
    ["Type", (band) => band.data_type ?? ""],
    ["Description", (band) => band.description ?? ""],
  ].filter(([, of]) => bands.some((band) => of(band) !== ""));
  return h("section", { class: "card wide" }, h("h2", {}, "Bands"),
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([name]) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, bands.map((band) => h("tr", {}, columns.map(([, of]) => h("td", {}, of(band) instanceof Node ? of(band) : String(of(band)))))))));
}

function bandsOf(found) {
  const told = found.bands ?? found.summaries?.bands ?? found.summaries?.["eo:bands"];
  if (told?.length) return told;
  const dimension = Object.values(found["cube:dimensions"] ?? {}).find((each) => each.type === "bands");
  return (dimension?.values ?? []).map((name) => ({ name }));
}

function period(found) {
  const [start, end] = found.extent?.temporal?.interval?.[0] ?? [];
  return start || end ? `${start?.slice(0, 10) ?? "…"} to ${end?.slice(0, 10) ?? "today"}` : "";
}

function place(found) {
  const box = found.extent?.spatial?.bbox?.[0];
  if (!box) return "";
  const [west, south, east, north] = box.length === 6 ? [box[0], box[1], box[3], box[4]] : box;
  return `${west.toFixed(2)} to ${east.toFixed(2)} E, ${south.toFixed(2)} to ${north.toFixed(2)} N`;
}

function snippet(found, bands) {
  const names = bands.slice(0, 3).map((band) => `"${band.name}"`).join(", ");
  return `connection.load_collection(
    ${JSON.stringify(found.id)},
    spatial_extent={"west": 5.0, "south": 51.2, "east": 5.01, "north": 51.21},
    temporal_extent=["2021-05-01", "2021-06-01"],${names ? `\n    bands=[${names}],` : ""}
)`;
}
