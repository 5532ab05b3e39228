// Building elements, and words for numbers. Text from outside only ever becomes text nodes and
// attribute values: nothing here, or anywhere on the page, parses it as HTML.

/**
 * An element: h("a", { class: "x", href: "#", onclick: f, hidden: true }, "text", child, null).
 * Properties that start with "on" are listeners; null, undefined and false leave one out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put text into an element, where it differs: a selection in it survives. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put children into an element in the given order, moving only those that are out of place. */
export function arrange(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = count;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size.toFixed(unit && size < 10 ? 1 : 0)} ${units[unit]}`;
}

export function gibibytes(count) {
  return `${(count / 2 ** 30).toFixed(1)} GiB`;
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "just now", "5 min ago", then the date. */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (Number.isNaN(seconds)) return "";
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return moment(time);
}

export function moment(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** A <time> that says how long ago it was, and when exactly on hover. */
export function when(time) {
  return h("time", { datetime: time, title: moment(time) }, ago(time));
}

/** A button that copies a text. */
export function copier(label, text) {
  const button = h("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow copying";
    }
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** Ask before something that cannot be undone; resolves to whether to go on. */
export function confirmed(question, detail, action) {
  const dialog = document.getElementById("question");
  return new Promise((resolve) => {
    // Answered by the buttons, not by the dialog's event, which comes later: perhaps when the same
    // is asked again.
    const close = (answer) => {
      dialog.close();
      resolve(answer);
    };
    dialog.replaceChildren(
      h("h2", {}, question),
      h("p", {}, detail),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "quiet", onclick: () => close(false) }, "Keep it"),
        h("button", { type: "button", class: "danger", onclick: () => close(true) }, action),
      ),
    );
    dialog.oncancel = () => resolve(false); // Escape
    dialog.showModal();
  });
}
