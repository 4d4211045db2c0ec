// The worklist: keys move over the rows and act on the chosen one; the server says what each row is.

import { csrfToken } from "./csrf.js";
import { listenToKeys, SCAN_GAP_MS } from "./keyboard.js";
import { notify, offerNotices } from "./notices.js";
import { around, byId } from "./page.js";
import { rememberList } from "./place.js";
import { gettext, interpolate, ngettext } from "./words.js";
import { keepLive } from "./worklist_live.js";
import { preview } from "./worklist_preview.js";

const SAID_FOR_MS = 8000;

let chosen = ""; // the id of the chosen row
const marked = new Set(); // the ids of the rows that the next assignment takes together
let place = 0; // where it is, for when it leaves the list
let silence = 0;

function rows() {
  return /** @type {HTMLElement[]} */ ([...document.querySelectorAll("tr[data-case]")]);
}

function chosenRow() {
  return chosen ? document.getElementById(chosen) : null;
}

/**
 * @param {HTMLElement | null} row
 * @param {boolean} isPoll
 */
function mark(row, isPoll = false) {
  for (const other of document.querySelectorAll(".wl-row.is-selected")) other.classList.remove("is-selected");
  row?.classList.add("is-selected");
  chosen = row?.id ?? "";
  if (!row) return;
  place = rows().indexOf(row);
  preview(row.dataset.preview ?? "", row.dataset.version ?? "", isPoll);
}

/** @param {HTMLElement | undefined} row */
function choose(row) {
  /** @type {HTMLElement | null | undefined} */ (row?.querySelector("[data-act]"))?.focus();
}

/** @param {number} step */
function move(step) {
  const all = rows();
  const from = all.findIndex((row) => row.id === chosen);
  choose(all[from < 0 ? 0 : Math.max(0, Math.min(all.length - 1, from + step))]);
}

function showMarked() {
  for (const id of marked) if (!document.getElementById(id)) marked.delete(id);
  for (const row of rows()) row.classList.toggle("is-marked", marked.has(row.id));
}

/** After an exchange: the chosen row is marked again; where it left the list, the one in its place is. */
function keepChosen() {
  showMarked();
  if (!chosen) return;
  const row = chosenRow();
  if (row) return mark(row, true);
  const all = rows();
  const next = all[Math.min(place, all.length - 1)];
  mark(next ?? null, true);
  if (next && document.activeElement === document.body) choose(next);
}

/**
 * @param {string} sentence
 * @param {(() => void) | null} back takes the step back
 */
function tell(sentence, back = null) {
  clearTimeout(silence);
  byId("told").textContent = sentence;
  const undo = byId("take-back");
  undo.hidden = !back;
  undo.onclick = back;
  silence = setTimeout(() => tell(""), SAID_FOR_MS);
  if (!sentence) clearTimeout(silence);
}

const refresh = keepLive((keys) => {
  const sentence = interpolate(ngettext("%(count)s new STAT or urgent case", "%(count)s new STAT or urgent cases", keys.length), { count: keys.length });
  tell(sentence);
  notify(sentence);
}, keepChosen);

/**
 * @param {string} url
 * @param {string} [reader] the key of who gets the case, "" for nobody; left out: this reader, or back to nobody
 */
async function post(url, reader) {
  const body = new URLSearchParams(reader === undefined ? {} : { reader });
  const headers = { "X-CSRFToken": csrfToken(), Accept: "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body }).catch(() => null);
  return { isDone: Boolean(answer?.ok), said: await answer?.json().catch(() => null) };
}

/**
 * @param {string} url
 * @param {string} [reader] as in post
 */
async function assign(url, reader) {
  const { isDone, said } = await post(url, reader);
  if (!isDone) return tell(said?.detail ?? gettext("The server did not answer. Nothing was changed."));
  tell(said.sentence, reader === undefined ? () => assign(url, String(said.had ?? "")) : null);
  return refresh();
}

function sign() {
  const address = chosenRow()?.dataset.sign;
  if (address) location.assign(address);
  else tell(chosen ? gettext("This case is not ready to sign.") : gettext("Choose a case first: J or K."));
}

async function assignMarked() {
  const all = [...marked].map((id) => document.getElementById(id)?.querySelector("[data-assign]"));
  const before = /** @type {[string, string][]} */ ([]);
  for (const button of all) {
    const url = button instanceof HTMLElement ? button.dataset.assign ?? "" : "";
    const { isDone, said } = url ? await post(url, byId("worklist").dataset.me) : { isDone: false, said: null };
    if (isDone) before.push([url, String(said.had ?? "")]);
  }
  marked.clear();
  const sentence = interpolate(gettext("%(assigned)s of %(all)s marked cases are assigned to you."), { assigned: before.length, all: all.length });
  tell(sentence, before.length ? async () => {
    for (const [url, had] of before) await post(url, had);
    tell("Undone");
    await refresh();
  } : null);
  return refresh();
}

function markChosen() {
  const row = chosenRow();
  if (!row?.querySelector("[data-assign]")) return tell(gettext("Choose an open case first: J or K."));
  if (!marked.delete(row.id)) marked.add(row.id);
  showMarked();
  tell(marked.size ? interpolate(gettext("Marked: %(count)s. A assigns them to you."), { count: marked.size }) : gettext("No case is marked."));
}

function assignChosen() {
  if (marked.size) return assignMarked();
  const button = chosenRow()?.querySelector("[data-assign]");
  if (button instanceof HTMLElement) assign(button.dataset.assign ?? "");
  else tell(gettext("Choose an open case first: J or K."));
}

/**
 * What a letter does, a moment later: the first letter of a scanned number does nothing.
 * @param {() => void} act
 */
function unlessScanned(act) {
  return { run: () => { const timer = setTimeout(act, SCAN_GAP_MS + 20); return () => clearTimeout(timer); }, retracts: true };
}

const KEYS = /** @type {Record<string, import("./keyboard.js").Action>} */ ({
  j: { run: () => move(1), repeats: true },
  k: { run: () => move(-1), repeats: true },
  s: unlessScanned(sign),
  a: unlessScanned(assignChosen),
  x: unlessScanned(markChosen),
  Enter: { run: () => /** @type {HTMLElement | null} */ (chosenRow()?.querySelector("[data-act]") ?? null)?.click() },
  "/": { run: () => byId("search").focus() },
  "?": { run: () => byId("keys").showModal() },
});

listenToKeys((name) => KEYS[name], (text) => {
  byId("search").value = text;
  byId("search").form.requestSubmit();
});
byId("keys-open").addEventListener("click", () => byId("keys").showModal());
byId("worklist").addEventListener("focusin", (/** @type {Event} */ event) => mark(around(event, "tr[data-case]")));
byId("worklist").addEventListener("click", (/** @type {Event} */ event) => {
  const button = around(event, "[data-assign]");
  if (button) assign(button.dataset.assign ?? "");
  else if (!around(event, "a, button")) choose(around(event, "tr[data-case]") ?? undefined);
});
rememberList();
offerNotices();
