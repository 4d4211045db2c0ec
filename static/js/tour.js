// The two-minute tour: a dialog of steps, offered once in a browser and dismissed for good; it asks the server nothing.
import { byId } from "./page.js";
import { gettext, interpolate } from "./words.js";

const SEEN = "tour-seen";
/** @type {HTMLDialogElement} */
const dialog = byId("tour");
/** @type {NodeListOf<HTMLElement>} */
const steps = dialog.querySelectorAll("[data-tour-step]");
const place = /** @type {HTMLElement} */ (dialog.querySelector("[data-tour-place]"));
const back = /** @type {HTMLButtonElement} */ (dialog.querySelector("[data-tour-back]"));
const next = /** @type {HTMLButtonElement} */ (dialog.querySelector("[data-tour-next]"));
const offer = document.getElementById("tour-offer");
let current = 0;

/** @param {number} step */
function show(step) {
  current = Math.max(0, Math.min(step, steps.length - 1));
  steps.forEach((section, number) => {
    section.hidden = number !== current;
  });
  place.textContent = interpolate(gettext("Step %(step)s of %(all)s"), { step: current + 1, all: steps.length });
  back.disabled = current === 0;
  next.textContent = current === steps.length - 1 ? gettext("Done") : gettext("Next");
}

function forgetOffer() {
  localStorage.setItem(SEEN, "yes");
  if (offer) offer.hidden = true;
}

for (const button of document.querySelectorAll("[data-tour-start]")) {
  button.addEventListener("click", () => {
    forgetOffer();
    show(0);
    dialog.showModal();
    next.focus();
  });
}
offer?.querySelector("[data-tour-dismiss]")?.addEventListener("click", forgetOffer);
dialog.querySelector("[data-tour-end]")?.addEventListener("click", () => dialog.close());
back.addEventListener("click", () => {
  show(current - 1);
  if (back.disabled) next.focus();
});
next.addEventListener("click", () => (current === steps.length - 1 ? dialog.close() : show(current + 1)));
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") show(current + 1);
  if (event.key === "ArrowLeft") show(current - 1);
  event.stopPropagation(); // the keys of the page below are not for the tour
});
if (offer) offer.hidden = localStorage.getItem(SEEN) === "yes";
