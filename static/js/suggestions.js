// Proposed phrases on the sign page: sends the answer to one, and shows the interpretation as it is then.

import { around } from "./page.js";

/**
 * @param {HTMLFormElement} form
 * @param {{ before: () => Promise<void>, after: (interpretation: string) => Promise<void>, refuse: (sentence: string) => void }} page
 *   what is done before an answer is sent, after it was kept, and when it was refused ("": no answer)
 */
export function answerSuggestions(form, page) {
  const list = () => /** @type {HTMLElement} */ (document.getElementById("suggestions"));

  /** @param {HTMLElement} button */
  async function answer(button) {
    const line = /** @type {HTMLElement} */ (button.closest("[data-key]"));
    const own = /** @type {HTMLInputElement} */ (line.querySelector("[data-own]"));
    const { key = "", seen = "" } = line.dataset;
    const place = [...list().querySelectorAll("[data-key]")].indexOf(line);
    await page.before();
    const token = String(new FormData(form).get("csrfmiddlewaretoken"));
    const body = new URLSearchParams({ csrfmiddlewaretoken: token, key, seen, answer: button.dataset.answer ?? "", text: own.value });
    const sent = await fetch(list().dataset.address ?? "", { method: "POST", headers: { Accept: "application/json" }, body }).catch(() => null);
    const said = sent?.headers.get("Content-Type")?.includes("json") ? await sent.json() : {};
    if (list().contains(document.activeElement)) /** @type {HTMLElement} */ (document.activeElement).blur(); // the list is exchanged below
    if (sent?.ok) await page.after(said.interpretation);
    else page.refuse(said.detail ?? "");
    const lines = [...list().querySelectorAll("[data-key]")];
    const next = lines.slice(place).find((one) => !one.classList.contains("is-answered")) ?? lines[place];
    next?.querySelector("button")?.focus();
  }

  document.addEventListener("click", (event) => {
    const button = around(event, "#suggestions [data-answer]");
    if (button) answer(button);
  });
  // Enter in the words means: accept these words.
  document.addEventListener("keydown", (event) => {
    const own = event.key === "Enter" ? around(event, "#suggestions [data-own]") : null;
    if (!own) return;
    event.preventDefault();
    answer(/** @type {HTMLElement} */ (own.parentElement?.querySelector("[data-answer]")));
  });
}
