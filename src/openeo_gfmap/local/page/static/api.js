// Talking to the server. The token lives in this tab (sessionStorage) and travels in a header only.

const ROOT = "openeo/1.2/";
const KEPT = "openeo-gfmap-token";

export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The server cannot be reached at all. */
export class Unreachable extends Error {}

export const session = {
  get open() {
    return sessionStorage.getItem(KEPT) !== null;
  },
  close() {
    sessionStorage.removeItem(KEPT);
  },
};

/** Sign in with user and password. */
export async function signIn(user, password) {
  const pair = new TextEncoder().encode(`${user}:${password}`);
  const encoded = btoa(String.fromCharCode(...pair));
  const answer = await send("GET", `${ROOT}credentials/basic`, { Authorization: `Basic ${encoded}` });
  sessionStorage.setItem(KEPT, (await answer.json()).access_token);
}

/** Sign in with a code that works once. */
export async function redeem(code) {
  const answer = await send("POST", "page/session", {}, JSON.stringify({ code }));
  sessionStorage.setItem(KEPT, (await answer.json()).access_token);
}

/** GET as JSON: a path of the API. */
export async function get(path) {
  return (await call("GET", ROOT + path)).json();
}

/** A request without an answer that matters. */
export async function act(method, path) {
  await call(method, ROOT + path);
}

/** What the server is at. */
export async function status() {
  return (await call("GET", "status")).json();
}

/** A small picture of a result file, as a URL of this tab. */
export async function preview(job, name) {
  const path = `page/preview/${encodeURIComponent(job)}/${name.split("/").map(encodeURIComponent).join("/")}`;
  return URL.createObjectURL(await (await call("GET", path)).blob());
}

/** The start of a text file behind a signed link, at most so many bytes. */
export async function start(link, size) {
  const answer = await send("GET", link, { Range: `bytes=0-${size - 1}` });
  return answer.text();
}

async function call(method, path) {
  const token = sessionStorage.getItem(KEPT);
  return send(method, path, { Authorization: `Bearer basic//${token}` });
}

async function send(method, path, headers, body) {
  let answer;
  try {
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    answer = await fetch(path, { method, body, headers: { ...headers, ...type }, cache: "no-store" });
  } catch (error) {
    throw new Unreachable(`The server does not answer (${error.message}).`);
  }
  if (answer.ok) return answer;
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // Not from the server itself, but from a proxy before it: the status says enough.
  }
  const message = problem.message ?? `${method} ${path}: HTTP ${answer.status}`;
  throw new ServerError(answer.status, problem.code ?? "", message);
}
