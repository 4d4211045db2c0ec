// What happens with a barcode that was scanned while no text field was chosen: it offers to open that case.
// The text goes to the server in the body of a request, never in an address.

import { csrfToken } from "./csrf.js";
import { gettext, interpolate } from "./words.js";

/**
 * @param {string} text
 * @param {string} url
 * @param {HTMLDialogElement} dialog
 * @param {(sentence: string, isRefusal?: boolean) => void} tell
 */
export async function openScanned(text, url, dialog, tell) {
  tell(interpolate(gettext("Scanned %(text)s. No cell was changed."), { text }));
  const answer = await fetch(url, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRFToken": csrfToken() },
    body: JSON.stringify({ text }),
  }).catch(() => null);
  const found = answer?.ok ? await answer.json() : null;
  if (!found?.url) {
    tell(found?.sentence ?? interpolate(gettext("Scanned %(text)s: the server did not answer. No cell was changed."), { text }), true);
    return;
  }
  const link = /** @type {HTMLAnchorElement} */ (dialog.querySelector("a"));
  link.href = found.url;
  const name = /** @type {HTMLElement} */ (dialog.querySelector("[data-part=accession]"));
  name.textContent = found.accession_number;
  dialog.showModal();
}
