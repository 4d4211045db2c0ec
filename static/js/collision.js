// The dialog that shows two readers' labels of the same cells, and lets this one choose; it decides nothing by itself.

import { make } from "./page.js";
import { gettext, interpolate } from "./words.js";

/**
 * @param {HTMLDialogElement} dialog
 * @param {import("./desk.js").Desk} desk
 * @param {import("./types.js").Types} types
 * @param {{ sentence: string, cells: import("./types.js").Cell[], ids: number[], code: string | null }} collision
 */
export function showCollision(dialog, desk, types, { sentence, cells, ids, code }) {
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (dialog.querySelector(`[data-part=${name}]`));
  part("sentence").textContent = sentence;
  part("both").replaceChildren(
    ...cells.map((cell) =>
      make(
        "li",
        {},
        make("img", { src: desk.crop(cell.id), alt: "", width: 88, height: 88 }),
        make("span", {}, make("strong", {}, cell.by || gettext("Another reader")), `: ${types.name(cell.code)}`),
        make("span", {}, make("strong", {}, gettext("You")), code ? `: ${types.name(code)}` : gettext(": the same as before")),
      ),
    ),
  );
  const again = part("again");
  again.hidden = code === null || !ids.length;
  again.textContent = code ? interpolate(gettext("Change to %(name)s"), { name: types.name(code) }) : "";
  again.onclick = () => {
    dialog.close();
    desk.decide(ids, code);
  };
  part("keep").textContent = cells.length === 1 ? interpolate(gettext("Keep %(name)s"), { name: types.name(cells[0].code) }) : gettext("Keep");
  dialog.showModal();
}
