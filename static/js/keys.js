// The dialog in which a reader chooses a key for each type; knows one form and one address.

import { csrfToken } from "./csrf.js";
import { make } from "./page.js";
import { gettext, interpolate } from "./words.js";

/**
 * @param {HTMLDialogElement} dialog
 * @param {HTMLElement} opener
 * @param {import("./types.js").PageOfCells & { default_keys: Record<string, string>, taken_keys: Record<string, string> }} page
 * @param {(types: import("./types.js").CellType[]) => void} onChange
 */
export function keysDialog(dialog, opener, page, onChange) {
  const part = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (dialog.querySelector(selector));
  const problem = part("[data-part=problem]");
  /** @type {Map<string, HTMLInputElement>} */
  const inputs = new Map();
  for (const type of page.types) {
    const input = make("input", { className: "form-control form-control-sm", maxLength: 1, value: type.key.toUpperCase(), id: `key-${type.code}` });
    input.autocomplete = "off";
    input.addEventListener("focus", () => input.select());
    inputs.set(type.code, input);
    const label = make("label", { htmlFor: input.id }, type.label);
    part("[data-part=list]").append(make("div", { className: "key-choice" }, label, input));
  }
  opener.addEventListener("click", () => {
    problem.hidden = true;
    dialog.showModal();
  });
  part("[data-part=defaults]").addEventListener("click", () => {
    for (const [code, input] of inputs) input.value = page.default_keys[code].toUpperCase();
  });
  part("form").addEventListener("submit", async (event) => {
    if (/** @type {HTMLButtonElement | null} */ (event.submitter)?.value !== "save") return;
    event.preventDefault();
    const keys = Object.fromEntries([...inputs].map(([code, input]) => [code, input.value.toLowerCase()]));
    const sentence = problemWith(keys, page.taken_keys);
    const answer = sentence
      ? null
      : await fetch(page.urls.keys, {
          method: "POST",
          headers: { Accept: "application/json", "X-CSRFToken": csrfToken() },
          body: JSON.stringify({ keys }),
        });
    const content = answer ? await answer.json() : {};
    problem.textContent = sentence || content.detail || "";
    problem.hidden = !problem.textContent;
    if (!answer?.ok) return;
    onChange(content.types);
    dialog.close();
  });
}

/**
 * Why these keys cannot be; "" where they can. Pure.
 * @param {Record<string, string>} keys code to key
 * @param {Record<string, string>} taken key to what the workbench does by it
 */
export function problemWith(keys, taken) {
  const chosen = Object.values(keys);
  if (chosen.some((key) => !/^[a-z0-9]$/.test(key))) return gettext("A key is one letter or digit.");
  const needed = chosen.find((key) => taken[key]);
  if (needed) return interpolate(gettext("The workbench needs %(key)s itself (%(use)s)."), { key: needed.toUpperCase(), use: taken[needed] });
  const twice = chosen.find((key, index) => chosen.indexOf(key) !== index);
  return twice ? interpolate(gettext("%(key)s is the key of two types."), { key: twice.toUpperCase() }) : "";
}
