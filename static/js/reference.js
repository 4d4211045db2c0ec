// Blind reading by keyboard: the key of a type presses its button, once the picture of the cell has been on the screen.
// It does not know any label of the cell.

import { listenToKeys, SCAN_GAP_MS } from "./keyboard.js";
import { openScanned } from "./scanned.js";
import { gettext } from "./words.js";

const STOOD_MS = 150;

const form = /** @type {HTMLFormElement} */ (document.getElementById("reading"));
const picture = /** @type {HTMLImageElement} */ (form.querySelector("img"));
const buttons = /** @type {HTMLButtonElement[]} */ ([...form.querySelectorAll("button[data-key]")]);
const told = /** @type {HTMLElement} */ (document.querySelector("[data-part=told]"));
let isSent = false;

/**
 * @param {string} sentence
 * @param {boolean} isRefusal
 */
function tell(sentence, isRefusal = false) {
  told.textContent = sentence;
  told.classList.toggle("is-refusal", isRefusal);
  told.classList.add("is-on");
}

picture.decode().then(
  () => setTimeout(() => buttons.forEach((button) => (button.disabled = false)), STOOD_MS),
  () => tell(gettext("The picture of this cell could not be loaded. Load the page again."), true),
);
form.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
listenToKeys(
  (name) => {
    const button = buttons.find((each) => each.dataset.key === name && !each.disabled);
    if (!button) return null;
    return {
      retracts: true,
      run: () => {
        const timer = setTimeout(() => form.requestSubmit(button), SCAN_GAP_MS); // unless a scanner's next character comes
        return () => clearTimeout(timer);
      },
    };
  },
  (text) => {
    const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("scanned"));
    openScanned(text, form.dataset.scannedUrl ?? "", dialog, tell);
  },
);
