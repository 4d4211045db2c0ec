// Keeps the worklist as the server has it: asks every few seconds and exchanges only what differs, so that the chosen row,
// the focus and the pictures stay.

import { byId } from "./page.js";

const EVERY_MS = 5000;
const HIDDEN_EVERY_MS = 15_000;
const NEAR_THE_END = "300px"; // where further rows are asked for before the reader comes to the last

/**
 * How a list of rows becomes another one: which rows are new or changed, in the new order, and which are gone. Pure.
 * @param {{ id: string, version: string }[]} before
 * @param {{ id: string, version: string }[]} after
 */
export function difference(before, after) {
  const known = new Map(before.map(({ id, version }) => [id, version]));
  const left = new Set(after.map(({ id }) => id));
  return {
    fresh: after.filter(({ id, version }) => known.get(id) !== version).map(({ id }) => id),
    gone: before.filter(({ id }) => !left.has(id)).map(({ id }) => id),
  };
}

/**
 * The keys that were not there before. Pure.
 * @param {string} before keys with commas between them
 * @param {string} after
 */
export function newKeys(before, after) {
  const known = new Set(before.split(","));
  return after.split(",").filter((key) => key && !known.has(key));
}

/** @param {ParentNode} root */
function rowsOf(root) {
  return /** @type {HTMLElement[]} */ ([...root.querySelectorAll("tr[data-version]")]);
}

/** @param {HTMLElement[]} rows */
function versionsOf(rows) {
  return rows.map(({ id, dataset }) => ({ id, version: dataset.version ?? "" }));
}

/**
 * Exchange the small parts that differ: figures, counts, waiting times.
 * @param {Element} live
 * @param {Element} fresh
 */
function exchangeParts(live, fresh) {
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = live.querySelector(`#${part.id}`);
    if (old && !old.isEqualNode(part)) old.replaceWith(document.importNode(part, true));
  }
}

/**
 * Exchange the rows that differ and put all in the new order. The control that had the focus has it again.
 * @param {Element} live
 * @param {Element} fresh
 * @param {boolean} isScrolled the new rows are those that the reader scrolls to: nothing has changed
 */
function exchangeRows(live, fresh, isScrolled) {
  const body = live.querySelector("tbody");
  if (!body) return;
  const focused = body.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
  const after = rowsOf(fresh);
  const differ = difference(versionsOf(rowsOf(live)), versionsOf(after));
  const changed = new Set(differ.fresh);
  for (const id of differ.gone) live.querySelector(`#${id}`)?.remove();
  after.forEach((row, index) => {
    let own = /** @type {HTMLElement | null} */ (live.querySelector(`#${row.id}`));
    if (!own || changed.has(row.id)) {
      const made = document.importNode(row, true);
      made.classList.toggle("is-changed", !isScrolled);
      made.addEventListener("animationend", () => made.classList.remove("is-changed"), { once: true });
      own?.replaceWith(made);
      own = made;
    }
    if (body.children[index] !== own) body.insertBefore(own, body.children[index] ?? null);
  });
  if (focused && document.activeElement !== focused) document.getElementById(focused.id)?.focus({ preventScroll: true });
}

/**
 * @param {(keys: string[]) => void} onPressing hears of STAT and urgent cases that were not there before
 * @param {() => void} onChange is called after each exchange
 * @returns {() => Promise<void>} asks at once
 */
export function keepLive(onPressing, onChange) {
  const root = byId("worklist");
  let timer = 0;
  let asked = 0;

  const atTheEnd = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && askForMore(), {
    rootMargin: NEAR_THE_END,
  });

  function linkToMore() {
    return /** @type {HTMLAnchorElement | null} */ (root.querySelector("#wl-more a[href^='?']"));
  }

  function watchTheEnd() {
    atTheEnd.disconnect();
    const link = linkToMore();
    if (link) atTheEnd.observe(link);
  }

  /** Ask for further rows now, from now on, and when the reader comes back to the page. */
  function askForMore() {
    const link = linkToMore();
    if (!link) return;
    atTheEnd.disconnect();
    root.dataset.url = (root.dataset.url ?? "").replace(/\?.*$/, "") + link.search;
    history.replaceState(history.state, "", link.search);
    ask(true);
  }

  /**
   * @param {string} text
   * @param {boolean} isScrolled
   */
  function show(text, isScrolled) {
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("wl-live");
    const live = byId("wl-live");
    if (!fresh) return;
    const added = newKeys(live.dataset.pressing ?? "", fresh.dataset.pressing ?? "");
    live.dataset.pressing = fresh.dataset.pressing ?? "";
    const body = /** @type {HTMLElement} */ (fresh.querySelector("#wl-body"));
    if (body.dataset.filled !== byId("wl-body").dataset.filled) byId("wl-body").replaceWith(document.importNode(body, true));
    else exchangeRows(live, fresh, isScrolled);
    exchangeParts(live, fresh);
    watchTheEnd();
    const pressing = (live.dataset.pressing ?? "").split(",").filter(Boolean).length;
    document.title = (pressing ? `(${pressing}) ` : "") + document.title.replace(/^\(\d+\) /, "");
    onChange();
    if (added.length) onPressing(added);
  }

  async function ask(isScrolled = false) {
    clearTimeout(timer);
    asked += 1;
    const mine = asked;
    const answer = await fetch(root.dataset.url ?? "", { headers: { "X-LeukoWeb-Poll": "1" } }).catch(() => null);
    const text = answer?.ok && !answer.redirected ? await answer.text().catch(() => "") : "";
    if (mine !== asked) return; // a later question is under way
    if (text) show(text, isScrolled);
    timer = setTimeout(ask, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS);
  }

  document.addEventListener("visibilitychange", () => document.hidden || ask());
  timer = setTimeout(ask, EVERY_MS);
  watchTheEnd();
  return ask;
}
