// The page of the local back-end: what is shown, signing in, and the look at the server every while.

import { ServerError, Unreachable, redeem, session, signIn, status } from "./api.js";
import { collectionView, collectionsView } from "./collections.js";
import { count, gibibytes, h, say } from "./dom.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";

const SECONDS_BUSY = 1.5;
const SECONDS_IDLE = 3;

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const leave = document.getElementById("leave");
const machine = document.getElementById("machine");

let view = null;
let timer = 0;
let looking = false;
let again = false;

/** The view for the address behind "#". */
function viewOf(hash) {
  const [, kind, ...rest] = hash.split("/");
  const id = decodeURIComponent(rest.join("/"));
  if (kind === "collections") return id ? collectionView(id) : collectionsView();
  return kind === "jobs" && id ? jobView(id, look) : jobsView();
}

async function show() {
  const code = new URLSearchParams(location.hash.slice(1)).get("login");
  if (code !== null) {
    // Out of the address and the history before anything else.
    history.replaceState(null, "", "#/jobs");
    try {
      await redeem(code);
    } catch (error) {
      signInForm(error.message);
      return;
    }
  }
  if (!session.open) {
    signInForm("");
    return;
  }
  view?.close?.();
  view = viewOf(location.hash);
  leave.hidden = false;
  document.querySelectorAll("nav a").forEach((link) => {
    const current = (location.hash.split("/")[1] || "jobs") === link.dataset.view;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  main.replaceChildren(view.element);
  scrollTo(0, 0);
  await look();
}

/** Ask the server how things stand, and again after a while. */
async function look() {
  if (looking) {
    again = true;
    return;
  }
  clearTimeout(timer);
  if (!session.open) return;
  looking = true;
  let busy = false;
  try {
    do {
      again = false;
      const looked = view;
      const found = await status();
      busy = found.running.length > 0 || found.queued.length > 0;
      showMachine(found);
      await looked?.refresh(found);
    } while (again);
    trouble.hidden = true;
  } catch (error) {
    if (error instanceof ServerError && (error.status === 401 || error.code === "TokenInvalid")) {
      signOut("You are signed out: the server has another password now.");
      return;
    }
    if (!(error instanceof ServerError) && !(error instanceof Unreachable)) throw error;
    const hint = error instanceof Unreachable ? " It may have ended; this page goes on when it is back." : "";
    say(trouble, error.message + hint);
    trouble.hidden = false;
  } finally {
    looking = false;
  }
  // A page that nobody sees asks for nothing, and does not keep an idle server from ending.
  if (!document.hidden && session.open) {
    timer = setTimeout(look, 1000 * (busy ? SECONDS_BUSY : SECONDS_IDLE));
  }
}

function showMachine(found) {
  const { machine: is, limits, jobs, running } = found;
  const queued = jobs.queued ?? 0;
  const parts = [
    `${running.length} of at most ${limits.parallel_jobs} jobs at work`,
    `${queued} queued`,
    `${gibibytes(is.memory_used)} of ${gibibytes(is.memory)}`,
    count(is.cpus, "CPU"),
    found.scheduler ? `Dask at ${found.scheduler}` : null,
    `version ${found.version}`,
  ].filter(Boolean);
  const text = parts.join(" · ");
  say(machine, text);
  machine.hidden = false;
  document.title = (running.length ? `${running.length} at work · ` : "") + "openeo-gfmap";
}

function signOut(message) {
  session.close();
  signInForm(message);
}

function signInForm(message) {
  clearTimeout(timer);
  view?.close?.();
  view = null;
  leave.hidden = true;
  machine.hidden = true;
  trouble.hidden = true;
  const problem = h("p", { class: "problem", role: "alert", hidden: !message }, message);
  const user = h("input", { id: "user", name: "user", value: "gfmap", autocomplete: "username", required: true });
  const password = h("input", {
    id: "password", name: "password", type: "password", autocomplete: "current-password", required: true,
  });
  const form = h(
    "form",
    { class: "card signin" },
    h("h1", {}, "Sign in"),
    h("p", {}, "The password stands in ", h("code", {}, "server.json"),
      " in the server's state folder, which only you can read. ",
      h("code", {}, "gfmap serve"), " prints the folder when it starts, and a link that signs you in once."),
    problem,
    h("label", { for: "user" }, "User"), user,
    h("label", { for: "password" }, "Password"), password,
    h("button", { class: "main" }, "Sign in"),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await signIn(user.value, password.value);
    } catch (error) {
      say(problem, error.message);
      problem.hidden = false;
      password.select();
      return;
    }
    await show();
  });
  main.replaceChildren(form);
  password.focus();
}

leave.addEventListener("click", () => signOut(""));
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && session.open) look();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address behind "#" is the view
  main.focus();
});
show();
