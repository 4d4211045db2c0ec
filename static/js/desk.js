// The cells of a case as this page holds them: what is selected, and the one way to change a label.
// It asks the server and keeps the queue of decisions; it does not know how cells are drawn.

import { Census } from "./census.js";
import { csrfToken } from "./csrf.js";
import { Order } from "./order.js";
import { Pending } from "./pending.js";
import { gettext, interpolate, ngettext } from "./words.js";

/** @typedef {import("./types.js").Act} Act */
/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").Outcome} Outcome */
/** @typedef {import("./types.js").SlideImage} SlideImage */
/** @typedef {import("./types.js").Summary} Summary */

const SEND_AFTER_MS = 90; // longer than a scanner needs for its next character: until then a decision can be retracted
const RETRY_AFTER_MS = [1000, 2000, 4000, 8000, 15000];
const KEPT_ALIVE_BYTES = 60_000; // of what a request may carry that outlives its page

export class Refused extends Error {}
export class Unreachable extends Error {}

export class Desk extends EventTarget {
  /**
   * @param {Record<string, string>} urls
   * @param {number} reader key of the person whose page this is: what waits is stored in no other name
   */
  constructor(urls, reader) {
    super();
    this.urls = urls;
    this.reader = reader;
    this.pending = new Pending();
    /** @type {Map<number, Cell>} */
    this.cells = new Map();
    /** @type {Map<number, SlideImage>} */
    this.images = new Map();
    /** Image to its cells. @type {Map<number, number[]>} */
    this.onImage = new Map();
    /** Cell to its number within the case, from 1. @type {Map<number, number>} */
    this.numbers = new Map();
    this.census = new Census();
    this.order = new Order(); // of the cells that a person must see alone
    /** @type {Set<number>} */
    this.selected = new Set();
    /** @type {number | null} */
    this.current = null;
    /** @type {Summary | null} */
    this.summary = null;
    /** @type {Record<string, import("./types.js").Evidence>} */
    this.evidence = {};
    this.lastDecision = 0;
    /** @type {"saved" | "saving" | "offline" | "signed out"} */
    this.state = "saved";
    this.isSending = false;
    this.enqueuedAt = 0;
    this.failures = 0;
    this.sendTimer = 0;
    /** @type {Set<string>} */
    this.sent = new Set();
    /** @type {Map<string, (outcome: Outcome) => void>} */
    this.waiters = new Map();
    addEventListener("online", () => this.#send());
  }

  /** @param {boolean} isPoll nobody asked for it: no activity of a person */
  async load(isPoll = false) {
    const loaded = await this.#ask(this.urls.cells, undefined, isPoll ? { "X-LeukoWeb-Poll": "1" } : {});
    this.images = new Map(loaded.images.map((/** @type {SlideImage} */ image) => [image.id, image]));
    this.pending.store(loaded.cells);
    this.cells = new Map();
    this.census = new Census();
    this.onImage = new Map([...this.images.keys()].map((image) => [image, []]));
    this.numbers = new Map();
    for (const cell of loaded.cells) this.#put(cell);
    this.#noteLast(loaded.cells);
    this.#take(loaded.summary);
    this.evidence = loaded.evidence;
    this.#say("loaded");
    this.#say("summary");
  }

  /** @param {number | null} id */
  get(id) {
    return id === null ? undefined : this.cells.get(id);
  }

  /** @param {number} id */
  crop(id) {
    return this.urls.crop.replace("/0/", `/${id}/`);
  }

  /** @param {number} id */
  around(id) {
    return this.urls.around.replace("/0/", `/${id}/`);
  }

  /**
   * @param {number[]} ids
   * @param {number | null} current
   */
  select(ids, current = ids.at(-1) ?? null) {
    this.selected = new Set(ids);
    this.current = current;
    this.#say("selected");
  }

  /**
   * The cells of one image.
   * @param {number} image
   * @returns {Cell[]}
   */
  cellsOn(image) {
    return (this.onImage.get(image) ?? []).map((id) => /** @type {Cell} */ (this.cells.get(id)));
  }

  /** How many decisions the server has not confirmed yet. */
  get waiting() {
    return this.pending.acts.length;
  }

  /**
   * Label cells, or confirm them with code null. The page shows it at once; the server's answer is the truth.
   * @param {number[]} ids
   * @param {string | null} code
   * @returns {() => void} takes the decision back, as long as it was not sent
   */
  decide(ids, code) {
    const key = this.#enqueue({ act: "label", ids, code });
    this.#show(ids);
    return () => {
      if (!this.#isUnsent(key)) return void this.undo();
      this.pending.retract(key);
      this.#show(ids);
      this.#settleState();
    };
  }

  /**
   * Add a cell that the detector missed.
   * @param {number} image
   * @param {number[]} box
   * @param {string} code
   * @returns {Promise<boolean>} whether it was stored
   */
  async add(image, box, code) {
    const outcome = await this.#outcomeOf({ act: "add", ids: [], image, box, code });
    if (outcome.state === "saved") this.select(outcome.cells);
    return outcome.state === "saved";
  }

  /** Take back this reader's last step; returns how to take that back while it is not sent. */
  undo() {
    return this.#turnBack("undo", gettext("Undone"));
  }

  redo() {
    return this.#turnBack("redo", gettext("Done again"));
  }

  /** Wait until every decision is stored. */
  async settled() {
    clearTimeout(this.sendTimer);
    this.#send();
    while (this.waiting) await new Promise((resolve) => this.addEventListener("saving", resolve, { once: true }));
  }

  /** Tell the server that this reader is here; take what others changed meanwhile. */
  async present() {
    if (this.waiting) return null;
    const answer = await this.#ask(this.urls.presence, { since: this.lastDecision }, { "X-LeukoWeb-Poll": "1" });
    if (answer.changed && !this.waiting) this.#receive(answer);
    return answer;
  }

  /**
   * @param {"undo" | "redo"} act
   * @param {string} word
   */
  #turnBack(act, word) {
    const key = this.#enqueue({ act, ids: [], code: null });
    this.waiters.set(key, (outcome) => {
      if (outcome.state === "nothing") this.#say("told", { sentence: outcome.sentence });
      if (outcome.state !== "saved") return;
      this.select(outcome.cells);
      const many = interpolate(ngettext("one cell", "%(count)s cells", outcome.cells.length), { count: outcome.cells.length });
      this.#say("told", { sentence: `${word}: ${many}.` });
    });
    return () => {
      if (!this.#isUnsent(key)) return void (act === "undo" ? this.redo() : this.undo());
      this.pending.retract(key);
      this.waiters.delete(key);
      this.#settleState();
    };
  }

  /** @param {string} key */
  #isUnsent(key) {
    return !this.sent.has(key) && this.pending.acts.some((act) => act.key === key);
  }

  /**
   * @param {Omit<Act, "key">} act
   * @returns {Promise<Outcome>}
   */
  #outcomeOf(act) {
    return new Promise((resolve) => this.waiters.set(this.#enqueue(act), resolve));
  }

  /** @param {Omit<Act, "key">} act */
  #enqueue(act) {
    const key = crypto.randomUUID?.() ?? randomKey();
    this.pending.push({ ...act, key });
    this.enqueuedAt = performance.now();
    this.#settleState();
    clearTimeout(this.sendTimer);
    this.sendTimer = setTimeout(() => this.#send(), SEND_AFTER_MS);
    return key;
  }

  // One request at a time carries all that waits: each decision is sent with what its cells were shown with.
  async #send() {
    clearTimeout(this.sendTimer);
    if (this.isSending || !this.waiting) return;
    const early = this.enqueuedAt + SEND_AFTER_MS - performance.now();
    if (early > 1) {
      this.sendTimer = setTimeout(() => this.#send(), early);
      return;
    }
    this.isSending = true;
    const batch = this.pending.batch();
    this.sent = new Set(batch.map(({ key }) => key));
    try {
      const answer = await this.#ask(this.urls.decisions, { decisions: batch });
      this.failures = 0;
      this.#settle(answer.outcomes, answer.changed, answer.summary);
    } catch (problem) {
      if (problem instanceof Unreachable) this.#retryLater(problem);
      else this.#refuseAll(batch, problem instanceof Error ? problem.message : String(problem));
    }
    this.isSending = false;
    this.#settleState();
    if (this.waiting && this.failures === 0) this.#send();
  }

  /**
   * @param {Outcome[]} outcomes
   * @param {Cell[]} changed
   * @param {Summary | null} summary
   */
  #settle(outcomes, changed, summary) {
    const acts = new Map(this.pending.acts.map((act) => [act.key, act]));
    const labelled = outcomes.flatMap((outcome) => acts.get(outcome.key)?.ids ?? []);
    const dropped = this.pending.settle(outcomes, changed);
    this.#noteLast(changed);
    if (summary) this.#take(summary);
    this.#show([...new Set([...labelled, ...changed.map((cell) => cell.id)])]);
    this.#say("summary");
    for (const outcome of outcomes) {
      const act = acts.get(outcome.key);
      if (outcome.state === "refused") this.#say("told", { sentence: outcome.sentence, isRefusal: true });
      if (outcome.state === "collided" && act) {
        const cells = outcome.cells.map((id) => this.cells.get(id));
        this.#say("collided", { sentence: outcome.sentence, cells, ids: act.ids, code: act.code });
      }
      this.waiters.get(outcome.key)?.(outcome);
      this.waiters.delete(outcome.key);
    }
    for (const key of dropped) this.waiters.delete(key);
  }

  /** @param {Unreachable} problem */
  #retryLater(problem) {
    this.failures += 1;
    this.state = problem.cause === "signed out" ? "signed out" : "offline";
    const after = RETRY_AFTER_MS[Math.min(this.failures, RETRY_AFTER_MS.length) - 1];
    this.sendTimer = setTimeout(() => this.#send(), after);
  }

  /**
   * The server could not read the request at all: nothing of it is shown as decided any longer.
   * @param {{ key: string }[]} batch
   * @param {string} sentence
   */
  #refuseAll(batch, sentence) {
    const outcomes = batch.map(({ key }) => /** @type {Outcome} */ ({ key, state: "refused", sentence: "", cells: [] }));
    this.#settle(outcomes, [], this.summary);
    this.#say("told", { sentence, isRefusal: true });
  }

  #settleState() {
    if (!this.waiting) this.state = "saved";
    else if (this.failures === 0) this.state = "saving";
    this.#say("saving");
  }

  /** @param {{ changed: Cell[], summary: Summary }} answer */
  #receive(answer) {
    this.#noteLast(answer.changed);
    this.pending.store(answer.changed);
    this.#take(answer.summary);
    this.#show(answer.changed.map((cell) => cell.id));
    this.#say("summary");
  }

  /** @param {Cell} cell */
  #put(cell) {
    const before = this.cells.get(cell.id);
    this.cells.set(cell.id, cell);
    this.census.replace(before, cell);
    this.order.mark(cell.id, !cell.decided);
    if (before) return;
    this.numbers.set(cell.id, this.cells.size);
    this.onImage.get(cell.image)?.push(cell.id);
  }

  /** @param {Summary} summary */
  #take(summary) {
    this.summary = summary;
    this.order.set(summary.order, (id) => !(this.pending.shown(id)?.decided ?? true));
  }

  /** @param {number[]} ids */
  #show(ids) {
    for (const id of ids) {
      const cell = this.pending.shown(id);
      if (cell) this.#put(cell);
    }
    this.#say("changed", { ids });
  }

  /** @param {Cell[]} cells */
  #noteLast(cells) {
    for (const cell of cells) this.lastDecision = Math.max(this.lastDecision, cell.seen);
  }

  /**
   * @param {string} url
   * @param {object} [body]
   * @param {Record<string, string>} headers
   * @returns {Promise<any>}
   */
  async #ask(url, body, headers = {}) {
    const text = body ? JSON.stringify(body) : undefined;
    // Without headers of its own, what is only read is the answer that the page asked for before its scripts were there.
    /** @type {Record<string, string>} */
    const own = text ? { Accept: "application/json", "X-CSRFToken": csrfToken(), "X-LeukoWeb-Reader": String(this.reader) } : {};
    const answer = await fetch(url, {
      method: text ? "POST" : "GET",
      headers: { ...own, ...headers },
      body: text,
      credentials: "same-origin",
      keepalive: Boolean(text) && /** @type {string} */ (text).length < KEPT_ALIVE_BYTES,
    }).catch(() => {
      throw new Unreachable(gettext("Connection lost."));
    });
    const isJson = answer.headers.get("Content-Type")?.includes("json");
    if (answer.ok && isJson) return answer.json();
    // A page that refuses instead of JSON: the browser's token is gone with its session.
    if (answer.status === 401 || answer.redirected || (answer.status === 403 && !isJson)) {
      throw new Unreachable(gettext("You were signed out. Sign in again in another tab."), { cause: "signed out" });
    }
    if (answer.status >= 500 || answer.status === 429) throw new Unreachable(gettext("The server did not answer."));
    const content = isJson ? await answer.json() : {};
    throw new Refused(content.detail ?? gettext("The server could not do that. Nothing was changed; load the page again."));
  }

  /**
   * @param {string} name
   * @param {object} detail
   */
  #say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// For pages that are served without TLS, where the browser has no randomUUID.
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
