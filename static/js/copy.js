// Copies a text of the page to the clipboard, by button or by the key C; it knows nothing of what the text says.

import { around, readJson } from "./page.js";

/** @param {string} id of the JSON with the text */
export function copyFrom(id) {
  async function copy() {
    const text = readJson(id);
    const button = document.querySelector(`[data-copy="${id}"]`);
    if (!text || !button) return;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea"); // without https browsers offer no clipboard
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const said = document.createElement("span");
    said.textContent = " Copied";
    said.setAttribute("role", "status");
    button.append(said);
    setTimeout(() => said.remove(), 1500);
  }
  document.addEventListener("click", (event) => around(event, `[data-copy="${id}"]`) && copy());
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "c" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!around(event, "input, textarea, select, [contenteditable]")) copy();
  });
}
