// Brightness and contrast of the pictures of cells, kept while this browser tab is open: how they are shown, never what
// is stored.

import { gettext } from "./words.js";

const KEPT_AS = "cell-light";

/** @typedef {Record<string, string>} Light name of a slider to its value in percent */

/**
 * @param {HTMLElement} root under which all pictures follow
 * @param {HTMLElement} menu with one slider each for brightness and contrast, and a button that resets them
 * @param {HTMLElement} opener is marked while the pictures are not shown as they are
 */
export function adjustLight(root, menu, opener) {
  const sliders = [...menu.querySelectorAll("input")];

  /** @param {Light} light */
  function show(light) {
    for (const slider of sliders) {
      slider.value = light[slider.name] ?? slider.defaultValue;
      root.style.setProperty(`--${slider.name}`, `${slider.value}%`);
    }
    const isAdjusted = sliders.some((slider) => slider.value !== slider.defaultValue);
    root.classList.toggle("is-adjusted", isAdjusted);
    opener.classList.toggle("btn-primary", isAdjusted);
    opener.classList.toggle("btn-outline-secondary", !isAdjusted);
    opener.title = isAdjusted ? gettext("Brightness or contrast is changed") : gettext("Brightness and contrast");
    sessionStorage.setItem(KEPT_AS, JSON.stringify(Object.fromEntries(sliders.map(({ name, value }) => [name, value]))));
  }

  menu.addEventListener("input", () => show(Object.fromEntries(sliders.map(({ name, value }) => [name, value]))));
  menu.querySelector("button")?.addEventListener("click", () => show({}));
  show(kept());
}

/** @returns {Light} */
function kept() {
  try {
    return Object(JSON.parse(sessionStorage.getItem(KEPT_AS) ?? "{}"));
  } catch {
    return {};
  }
}
