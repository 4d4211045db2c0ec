// The sign page: puts a phrase into the comment, saves the draft by itself, lets Enter in the signature mean sign.
// What may be signed is the server's business.

import { swapPictures } from "./picture_swap.js";
import { around, byId } from "./page.js";
import { answerSuggestions } from "./suggestions.js";
import { gettext, interpolate } from "./words.js";

const AFTER_MS = 1200; // without typing, the draft is saved

const form = /** @type {HTMLFormElement} */ (byId("report-form"));
const comment = /** @type {HTMLTextAreaElement} */ (byId("comment"));
const state = byId("draft-state");
const signature = /** @type {HTMLElement} */ (form.querySelector(".signature-box"));
const sign = /** @type {HTMLButtonElement} */ (byId("sign"));
const seen = /** @type {HTMLInputElement} */ (form.elements.namedItem("seen"));

/** What belongs to the draft: never a word of the signature. */
function draft() {
  const fields = new FormData(form);
  for (const name of ["username", "password", "code", "meaning", "seen"]) fields.delete(name);
  fields.set("act", "autosave");
  return new URLSearchParams(/** @type {any} */ (fields));
}

comment.setSelectionRange(comment.value.length, comment.value.length);
const offerSwap = swapPictures(form, state, () => save());
let saved = draft().toString();
let isRefused = false;
let isSigning = false;
let isSent = false; // the form itself is on its way, with the whole draft in it
let timer = 0;
/** @type {Promise<void>} */
let saving = Promise.resolve();

async function send() {
  const body = draft();
  if (isSent || body.toString() === saved) return;
  state.textContent = "Saving…";
  const answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body, keepalive: true }).catch(() => null);
  const isJson = answer?.headers.get("Content-Type")?.includes("json");
  const content = isJson ? await answer?.json() : {};
  if (answer?.ok && content.saved_at) {
    saved = body.toString();
    state.textContent = interpolate(gettext("Saved %(saved_at)s"), { saved_at: content.saved_at });
    await show();
    return;
  }
  isRefused = Boolean(content.detail);
  state.textContent = interpolate(gettext("Not saved: %(reason)s"), { reason: content.detail ?? gettext("the server did not answer. It is tried again.") });
  if (!isRefused) soon(5 * AFTER_MS);
}

/** Shows paper and checklist as the saved draft makes them; where cells changed meanwhile the signature is refused. */
async function show() {
  const answer = await fetch(form.action, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (fresh.querySelector("input[name=seen]")?.getAttribute("value") !== seen.value) return;
  for (const part of ["#gates", "#suggestions", ".paper"]) {
    const now = fresh.querySelector(part);
    const before = document.querySelector(part);
    if (now && before && !before.contains(document.activeElement)) before.replaceWith(now);
  }
  sign.disabled = document.querySelector("#gates .gate-open") !== null;
  offerSwap();
}

/** One request after the other, so that the newest words are stored last. */
function save() {
  clearTimeout(timer);
  saving = saving.then(send);
  return saving;
}

function soon(after = AFTER_MS) {
  clearTimeout(timer);
  timer = setTimeout(save, after);
}

form.addEventListener("input", (event) => {
  if (!signature.contains(/** @type {Node} */ (event.target))) soon();
});
form.addEventListener("change", (event) => {
  if (!signature.contains(/** @type {Node} */ (event.target))) save();
});
comment.addEventListener("blur", save);
addEventListener("pagehide", save);
document.addEventListener("visibilitychange", () => document.hidden && save());

answerSuggestions(form, {
  before: save,
  after: async (interpretation) => {
    /** @type {HTMLInputElement} */ (byId("interpretation")).value = interpretation;
    saved = draft().toString();
    await show();
  },
  refuse: (sentence) => {
    state.textContent = interpolate(gettext("Not saved: %(reason)s"), { reason: sentence || gettext("the server did not answer. It is tried again.") });
  },
});

// A save that is under way ends before the form is sent: after the signature the draft is closed.
form.addEventListener("submit", (event) => {
  clearTimeout(timer);
  if (isSent) return;
  event.preventDefault();
  if (isSigning) return;
  isSigning = true;
  // In a task of its own: while this event is under way the browser ignores a further request to submit.
  saving.finally(() =>
    setTimeout(() => {
      isSent = true;
      form.requestSubmit(event.submitter);
    }),
  );
});
addEventListener("pageshow", () => {
  isSigning = isSent = false;
});

// Acknowledging a flag or returning the case loads the page anew: the draft is stored before.
document.addEventListener("submit", async (event) => {
  const other = /** @type {HTMLFormElement} */ (event.target);
  if (other === form || draft().toString() === saved) return;
  event.preventDefault();
  await save();
  if (draft().toString() !== saved && !isRefused) return; // the line is interrupted: what was typed stays on the page
  saved = draft().toString();
  other.requestSubmit(event.submitter);
});

document.addEventListener("click", (event) => {
  const button = around(event, "[data-phrase]");
  if (!button) return;
  const before = comment.value.slice(0, comment.selectionStart);
  const gap = before && !/\s$/.test(before) ? " " : "";
  comment.setRangeText(gap + button.dataset.phrase, comment.selectionStart, comment.selectionEnd, "end");
  comment.focus();
  soon();
});

// Without this, Enter would press the form's first button, which only saves the draft.
signature.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
  event.preventDefault();
  save().finally(() => setTimeout(() => sign.disabled || form.requestSubmit(sign))); // what was just chosen may be the last open line
});
