// On the sign page a click on a picture of the paper shows another cell of the same type; the choice is the form's.

import { around } from "./page.js";
import { gettext } from "./words.js";

/**
 * @param {HTMLFormElement} form with a checkbox `pictures` for each cell that can be shown
 * @param {HTMLElement} state where it is said that there is no other cell
 * @param {() => Promise<void>} save stores the draft and shows the paper anew
 * @returns {() => void} run it after the paper was exchanged
 */
export function swapPictures(form, state, save) {
  const choices = () => /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll("input[name=pictures]")]);

  function offer() {
    for (const figure of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".paper .pictures figure"))) {
      figure.tabIndex = 0;
      figure.setAttribute("role", "button");
      figure.title = gettext("Show another cell of this type");
    }
  }

  /** @param {Event} event */
  async function swap(event) {
    const figure = around(event, ".paper .pictures figure");
    const all = choices();
    const at = all.findIndex((box) => box.value === figure?.dataset.cell);
    if (!figure || at < 0) return;
    event.preventDefault();
    const another = [...all.slice(at + 1), ...all.slice(0, at)].find((box) => !box.checked && box.dataset.code === all[at].dataset.code);
    if (!another) {
      state.textContent = gettext("There is no other cell of this type.");
      return;
    }
    [all[at].checked, another.checked] = [false, true];
    figure.blur(); // the paper is not exchanged while something in it has the focus
    await save();
    /** @type {HTMLElement | null} */ (document.querySelector(`.paper figure[data-cell="${another.value}"]`))?.focus();
  }

  offer();
  document.addEventListener("click", swap);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") void swap(event);
  });
  return offer;
}
