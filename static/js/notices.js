// Notices of the browser for new STAT and urgent cases: only where the reader switched them on; they name no patient.

import { byId } from "./page.js";

const KEPT = "worklist_notices";

/** Show the switch where the browser has notices and the reader has not refused them. */
export function offerNotices() {
  if (!("Notification" in window) || Notification.permission === "denied") return;
  const button = byId("notices");
  const show = () => button.setAttribute("aria-pressed", String(isOn()));
  button.hidden = false;
  button.addEventListener("click", async () => {
    const turnsOn = !isOn() && (await Notification.requestPermission()) === "granted";
    localStorage.setItem(KEPT, turnsOn ? "on" : "off");
    show();
  });
  show();
}

function isOn() {
  return Notification.permission === "granted" && localStorage.getItem(KEPT) === "on";
}

/** @param {string} sentence */
export function notify(sentence) {
  if (!("Notification" in window) || !isOn() || document.hasFocus()) return;
  try {
    const notice = new Notification("LeukoWeb", { body: sentence, tag: KEPT });
    notice.addEventListener("click", () => {
      window.focus();
      notice.close();
    });
  } catch {
    // Browsers of phones allow notices from service workers only; the figure in the tab's title remains.
  }
}
