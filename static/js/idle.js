// Warns before the server signs an idle session out, and marks requests that no person asked for; the server decides.
import { csrfToken } from "./csrf.js";
import { byId } from "./page.js";

/** @type {HTMLDialogElement} */
const dialog = byId("idle");
const { limitS, stateUrl = "", stayUrl = "", signInUrl = "" } = dialog.dataset;
const warnS = Math.min(60, Number(limitS) / 3);
const poll = { "X-LeukoWeb-Poll": "1", Accept: "application/json" };
let timer = 0;

// htmx gives no event for what a timer or a page load triggered: that is no activity.
document.body.addEventListener("htmx:configRequest", (event) => {
  const { triggeringEvent, headers } = /** @type {CustomEvent} */ (event).detail;
  headers["X-CSRFToken"] = csrfToken();
  if (!triggeringEvent) headers["X-LeukoWeb-Poll"] = "1";
});

// Signing in again leads back to the page, where a saved draft is.
function leave() {
  location.assign(`${signInUrl}&next=${encodeURIComponent(location.pathname)}`);
}

async function look() {
  const answer = await fetch(stateUrl, { headers: poll }).catch(() => null);
  if (answer === null) return again(15);
  const { seconds_left: left } = answer.ok ? await answer.json() : { seconds_left: 0 };
  if (left <= 0) return leave();
  if (left > warnS) {
    if (dialog.open) dialog.close();
    return again(left - warnS);
  }
  byId("idle-seconds").textContent = String(left);
  if (!dialog.open) dialog.showModal();
  return again(Math.min(left, 5));
}

/** @param {number} seconds */
function again(seconds) {
  clearTimeout(timer);
  timer = setTimeout(look, Math.max(1, seconds) * 1000);
}

byId("idle-stay").addEventListener("click", async () => {
  const answer = await fetch(stayUrl, { method: "POST", headers: { "X-CSRFToken": csrfToken() } }).catch(() => null);
  if (answer && !answer.ok) return leave();
  dialog.close();
  return again(Number(limitS) - warnS);
});
// A page that the browser kept whole is asked for again: after sign-out it would show a patient.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
dialog.addEventListener("cancel", (event) => event.preventDefault());
again(Number(limitS) - warnS);
