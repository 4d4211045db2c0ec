// The pane beside the worklist: the chosen case at a glance, asked for when the choice has stood a moment.

import { byId } from "./page.js";

const AFTER_MS = 300;
const IS_SHOWN = matchMedia("(min-width: 1400px)"); // as in worklist.css

let shown = "";
let timer = 0;

/**
 * Show a case in the pane, where there is room for one.
 * @param {string} address of the fragment
 * @param {string} version of the row: another one is asked for again
 * @param {boolean} isPoll whether the row changed by itself: that is no sign of the reader
 */
export function preview(address, version, isPoll) {
  if (!IS_SHOWN.matches || shown === `${address} ${version}`) return;
  shown = `${address} ${version}`;
  const mine = shown;
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const answer = await fetch(address, { headers: isPoll ? { "X-LeukoWeb-Poll": "1" } : {} }).catch(() => null);
    const text = answer?.ok && !answer.redirected ? await answer.text().catch(() => "") : "";
    if (mine !== shown) return; // another case was chosen since
    if (!text) shown = "";
    else byId("preview").replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  }, AFTER_MS);
}
