// The chip that says whether every decision is stored, and the guard that lets nobody leave before.
// It knows the queue's state; it does not know what a decision is.

import { gettext, interpolate } from "./words.js";

const WORDS = { saved: gettext("Saved"), offline: gettext("Offline"), "signed out": gettext("Signed out") };

/**
 * Let the chip say how many acts on findings are not stored yet.
 * @param {import("./findings.js").Findings} findings
 * @param {HTMLElement} chip
 */
export function showFilmSaving(findings, chip) {
  findings.addEventListener("saving", (event) => {
    const { waiting, isOffline } = /** @type {CustomEvent} */ (event).detail;
    chip.textContent = !waiting ? WORDS.saved : isOffline ? interpolate(gettext("%(state)s, %(waiting)s not saved"), { state: WORDS.offline, waiting }) : interpolate(gettext("Saving %(waiting)s…"), { waiting });
    chip.className = `saving is-${!waiting ? "saved" : isOffline ? "offline" : "saving"}`;
  });
}

/**
 * @param {import("./desk.js").Desk} desk
 * @param {HTMLElement} chip
 * @param {(sentence: string, isRefusal?: boolean) => void} tell
 */
export function guardQueue(desk, chip, tell) {
  let isLeaving = false;

  desk.addEventListener("saving", () => {
    const { state, waiting } = desk;
    chip.textContent = state === "saving" ? interpolate(gettext("Saving %(waiting)s…"), { waiting }) : waiting ? interpolate(gettext("%(state)s, %(waiting)s not saved"), { state: WORDS[state], waiting }) : WORDS[state];
    chip.className = `saving is-${state.replace(" ", "-")}`;
    if (state === "signed out") tell(gettext("You were signed out. Sign in again in another tab: your decisions are kept here."), true);
  });

  // A link or a form waits until the queue is empty, then goes on by itself.
  /** @param {() => void} leave */
  async function waitThen(leave) {
    if (isLeaving) return;
    isLeaving = true;
    tell(desk.state === "saving" ? interpolate(gettext("Saving %(waiting)s…"), { waiting: desk.waiting }) : gettext("Not saved yet: waiting for the connection."), desk.state !== "saving");
    await desk.settled();
    isLeaving = false;
    leave();
  }

  document.addEventListener(
    "click",
    (event) => {
      const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
      if (!(link instanceof HTMLAnchorElement) || !desk.waiting) return;
      if (link.target || link.hasAttribute("download") || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (link.getAttribute("href")?.startsWith("#")) return;
      event.preventDefault();
      waitThen(() => location.assign(link.href));
    },
    true,
  );
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !desk.waiting || form.method === "dialog") return;
    event.preventDefault();
    waitThen(() => form.requestSubmit(event.submitter));
  });
  addEventListener("beforeunload", (event) => {
    if (desk.waiting) event.preventDefault();
  });
}
