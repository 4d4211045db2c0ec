// Findings of red cells, white cells and platelets: rows that keys grade, shown instead of the columns of the workbench.
// It sends each act once and in order; which findings there are, and what is refused, is the server's business.

import { csrfToken } from "./csrf.js";
import { around, make } from "./page.js";
import { gettext, interpolate } from "./words.js";

/** @typedef {{ key: string, name: string, values: Record<string, string>, value: string, counted_per: string, counted: number | null, examined: number | null, note: string, pictures: number[][], by: string, last: number }} Item */
/** @typedef {Item & { is_asked: boolean, items: Item[] }} Group */
/** @typedef {{ key: string, value: string, counted?: number | null, examined?: number | null, note?: string, pictures?: number[][] }} Mark */

const AGAIN_AFTER_MS = 3000;
const MOST_PICTURES = 3;
const WHOLE = ["normal", "not_seen"];

export class Findings extends EventTarget {
  /**
   * @param {HTMLElement} root of the page; its `data-findings` says that they are shown
   * @param {HTMLElement} section
   * @param {{ url: string, reader: number, canChange: boolean, tell: import("./types.js").Tell, chosen: () => number[] | null }} page
   *   `chosen`: the part of an image around the cell that is chosen in the workspace, [image, x1, y1, x2, y2] in px
   */
  constructor(root, section, { url, reader, canChange, tell, chosen }) {
    super();
    this.root = root;
    this.section = section;
    this.url = url;
    this.reader = reader;
    this.canChange = canChange;
    this.tell = tell;
    this.chosen = chosen;
    /** @type {Group[]} */
    this.groups = [];
    /** @type {Record<string, unknown>[]} acts that the server has not stored yet */
    this.queue = [];
    this.current = "";
    this.isOffline = false;
    this.isSending = false;
    section.addEventListener("click", (event) => this.#click(event));
    section.addEventListener("focusin", (event) => this.#focused(event));
    section.addEventListener("change", (event) => this.#typed(event));
    document.body.addEventListener("findings-changed", () => this.groups.length && this.#load()); // the panel of the detector
    addEventListener("beforeunload", (event) => this.queue.length && event.preventDefault());
  }

  get isOn() {
    return this.root.hasAttribute("data-findings");
  }

  async open() {
    this.root.setAttribute("data-findings", "");
    this.section.hidden = false;
    document.body.dispatchEvent(new Event("film-open"));
    if (!this.groups.length) await this.#load();
    this.#focus(this.current || this.groups[0]?.key);
  }

  close() {
    this.root.removeAttribute("data-findings");
    this.section.hidden = true;
  }

  /** @param {number} step rows down */
  move(step) {
    const keys = this.#rows().map((row) => row.dataset.key ?? "");
    this.#focus(keys[Math.min(Math.max(keys.indexOf(this.current) + step, 0), keys.length - 1)]);
  }

  /** @param {number} step groups down */
  moveGroup(step) {
    const at = this.groups.findIndex((group) => this.#groupOf(this.current) === group);
    this.#focus(this.groups[Math.min(Math.max(at + step, 0), this.groups.length - 1)]?.key);
  }

  /**
   * Give the current finding a grade; a group that was marked as a whole is graded from then on.
   * @param {string} value
   */
  grade(value) {
    const item = this.#find(this.current);
    const group = this.#groupOf(this.current);
    if (!item || !group) return;
    if (item === group) return void this.tell(gettext("Choose a finding below with ↓, or press A (all normal) or X (not examined)."));
    if (!(value in item.values)) return void this.tell(`${item.name}: ${Object.entries(item.values).map(([key, word]) => `${key} ${word}`).join(", ")}.`);
    /** @type {Mark[]} */
    const marks = [{ key: item.key, value, pictures: item.pictures }];
    if (group.value) marks.unshift({ key: group.key, value: "" });
    this.#mark(marks);
    this.move(1);
  }

  /** @param {"normal" | "not_examined" | "seen"} what said of the whole group; its findings are taken back */
  markGroup(what) {
    const group = this.#groupOf(this.current);
    if (!group) return;
    const value = what === "normal" ? WHOLE.find((each) => each in group.values) : what;
    if (!value || !(value in group.values)) return void this.tell(`${group.name}: ${Object.values(group.values).join(", ")}.`);
    const graded = group.items.filter((item) => item.value && (value === "not_examined" || item.value !== ("0" in item.values ? "0" : "2")));
    if (graded.length) return void this.tell(interpolate(gettext("%(group)s cannot be “%(whole)s”: %(name)s is graded. Take it back with Delete first."), { group: group.name, whole: group.values[value], name: graded[0].name }), true);
    this.#mark([{ key: group.key, value }]);
    this.moveGroup(1);
  }

  /** Take back what the current row says. */
  clear() {
    const item = this.#find(this.current);
    if (item?.value) this.#mark([{ key: item.key, value: "" }]);
  }

  /** Whether the current finding can have one more picture; else it is said why not. */
  canTakePicture() {
    const item = this.#find(this.current);
    if (!item || item === this.#groupOf(this.current) || !item.value) this.tell(gettext("Grade a finding first; then add a picture to it."));
    else if (item.pictures.length >= MOST_PICTURES) this.tell(gettext("A finding has at most three pictures: remove one first."));
    else return true;
    return false;
  }

  /** Add the part of the image around the chosen cell to the current finding. */
  addPicture() {
    if (!this.canTakePicture()) return;
    const picture = this.chosen();
    if (picture) this.takePicture(picture);
    else this.tell(gettext("Choose a cell in the workspace first: its surroundings become the picture."));
  }

  /** @param {number[]} picture of the current finding: [image, x1, y1, x2, y2] in px */
  takePicture(picture) {
    const item = this.#find(this.current);
    if (item && !item.pictures.some((each) => String(each) === String(picture))) this.#setPictures(item, [...item.pictures, picture]);
  }

  /**
   * @param {Item} item
   * @param {number[][]} pictures
   */
  #setPictures(item, pictures) {
    const { key, value, counted, examined, note } = item;
    this.#mark([{ key, value, counted, examined, note, pictures }]);
  }

  undo() {
    if (this.canChange) this.#enqueue({ undo: true });
  }

  /** @param {Mark[]} marks */
  #mark(marks) {
    if (!this.canChange) return void this.tell(gettext("This case is closed: its findings are read-only."), true);
    for (const { key, ...said } of marks) {
      const item = this.#find(key);
      if (item) Object.assign(item, { counted: null, examined: null, note: "", pictures: [], ...said });
    }
    this.#enqueue({ findings: marks });
    this.#show(); // after that: a picture is asked for once it is stored
  }

  /** @param {Record<string, unknown>} act */
  #enqueue(act) {
    this.queue.push({ ...act, key: crypto.randomUUID?.() ?? `10000000-0000-4000-8000-${String(Math.floor(Math.random() * 1e12)).padStart(12, "0")}` });
    this.#send();
  }

  // One act at a time: an answer that is lost is asked for again under the same key, which the server stores once.
  async #send() {
    if (this.isSending) return;
    this.isSending = true;
    while (this.queue.length) {
      this.#say();
      try {
        const answer = await this.#ask(this.queue[0]);
        this.queue.shift();
        this.isOffline = false;
        if (!this.queue.length) this.#take(answer);
      } catch (problem) {
        if (problem instanceof TypeError) {
          this.isOffline = true;
          this.#say();
          await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER_MS));
          continue;
        }
        this.queue = [];
        this.tell(problem instanceof Error ? problem.message : String(problem), true);
        await this.#load();
      }
    }
    this.isSending = false;
    this.#say();
  }

  async #load() {
    try {
      this.#take(await this.#ask());
    } catch (problem) {
      this.tell(problem instanceof Error && !(problem instanceof TypeError) ? problem.message : gettext("Offline: the findings could not be loaded."), true);
    }
  }

  /** @param {Record<string, unknown>} [body] */
  async #ask(body) {
    const headers = { "Content-Type": "application/json", "X-CSRFToken": csrfToken(), "X-LeukoWeb-Reader": String(this.reader) };
    const answer = await fetch(this.url, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers: { Accept: "application/json" } });
    if (answer.status >= 500) throw new TypeError("unreachable");
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.detail ?? gettext("The findings were not stored."));
    return said;
  }

  /** @param {{ groups: Group[] }} answer */
  #take(answer) {
    const isFirst = !this.groups.length;
    this.groups = answer.groups;
    if (isFirst) this.#build();
    this.#show();
  }

  #say() {
    this.dispatchEvent(new CustomEvent("saving", { detail: { waiting: this.queue.length, isOffline: this.isOffline } }));
  }

  #build() {
    const list = /** @type {HTMLElement} */ (this.section.querySelector('[data-part="findings"]'));
    list.replaceChildren(
      ...this.groups.map((group) => {
        const id = `finding-group-${group.key}`;
        const items = group.items.map((item) => this.#row(item, "finding-row"));
        const heading = make("h3", { id }, group.name);
        return make("section", { className: "finding-group", "aria-labelledby": id }, heading, this.#row(group, "finding-row is-group"), ...items);
      }),
    );
  }

  /**
   * @param {Item} item
   * @param {string} className
   */
  #row(item, className) {
    const isGroup = className.includes("is-group");
    const buttons = Object.entries(item.values).map(([value, word]) => {
      const button = make("button", { type: "button", className: "finding-value", dataset: { value }, disabled: !this.canChange }, word);
      button.setAttribute("aria-label", `${item.name}: ${word}`);
      return button;
    });
    const row = make("div", { className, tabIndex: -1, role: "group", dataset: { key: item.key } }, make("span", { className: "finding-name" }, isGroup ? gettext("As a whole") : item.name), make("span", { className: "finding-values" }, ...buttons));
    row.setAttribute("aria-label", item.name);
    if (item.counted_per) row.append(this.#count(item));
    if (!isGroup) row.append(make("span", { className: "finding-pictures" }));
    return row;
  }

  /** @param {Item} item */
  #count(item) {
    const field = (/** @type {string} */ part, /** @type {string} */ name) => {
      const input = make("input", { type: "number", min: "0", inputMode: "numeric", className: "form-control form-control-sm", dataset: { part }, disabled: !this.canChange });
      input.setAttribute("aria-label", `${item.name}: ${name}`);
      input.addEventListener("input", () => (input.dataset.typed = "yes")); // kept until it is sent: an answer may come between
      return input;
    };
    return make("span", { className: "finding-count" }, field("counted", "counted"), ` ${gettext("of")} `, field("examined", `${item.counted_per} examined`), ` ${item.counted_per}`);
  }

  #show() {
    for (const row of this.#rows()) {
      const item = this.#find(row.dataset.key ?? "");
      if (!item) continue;
      for (const button of row.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === item.value));
      for (const input of row.querySelectorAll("input")) {
        const value = input.dataset.part === "counted" ? item.counted : item.examined;
        if (document.activeElement !== input && !input.dataset.typed) input.value = value === null ? "" : String(value);
      }
      row.classList.toggle("is-marked", item.value !== "");
      this.#showPictures(row, item);
    }
    for (const group of this.groups) {
      const isOpen = group.is_asked && !group.value && group.items.every((item) => !item.value);
      this.section.querySelector(`#finding-group-${group.key}`)?.classList.toggle("is-open", isOpen);
    }
  }

  /**
   * @param {HTMLElement} row
   * @param {Item} item
   */
  #showPictures(row, item) {
    const place = row.querySelector(".finding-pictures");
    const stored = this.queue.length ? [] : item.pictures; // the server shows only what it has stored
    if (!place || place.getAttribute("data-shown") === String(stored)) return;
    place.setAttribute("data-shown", String(stored));
    place.replaceChildren(
      ...stored.map(([image, ...edges], number) => {
        const which = { number: number + 1, name: item.name };
        const alt = interpolate(gettext("Picture %(number)s of %(name)s"), which);
        const remove = make("button", { type: "button", className: "btn-close", dataset: { remove: String(number) }, disabled: !this.canChange });
        remove.setAttribute("aria-label", interpolate(gettext("Remove picture %(number)s of %(name)s"), which));
        return make("span", {}, make("img", { src: `/images/${image}/findings/${edges.join("_")}.jpg`, alt, width: 48, height: 48 }), remove);
      }),
    );
  }

  #rows() {
    return /** @type {HTMLElement[]} */ ([...this.section.querySelectorAll("[data-key]")]);
  }

  /** @param {string} key @returns {Item | Group | undefined} */
  #find(key) {
    return this.groups.flatMap((group) => [group, ...group.items]).find((item) => item.key === key);
  }

  /** @param {string} key */
  #groupOf(key) {
    return this.groups.find((group) => group.key === key || group.items.some((item) => item.key === key));
  }

  /** @param {string | undefined} key */
  #focus(key) {
    const row = this.#rows().find((each) => each.dataset.key === key);
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Event} event */
  #focused(event) {
    const row = around(event, "[data-key]");
    if (!row) return;
    this.current = row.dataset.key ?? "";
    for (const each of this.#rows()) {
      each.tabIndex = each === row ? 0 : -1;
      each.classList.toggle("is-current", each === row);
    }
  }

  /** @param {Event} event */
  #click(event) {
    const button = around(event, "button[data-value]");
    const row = around(event, "[data-key]");
    const remove = around(event, "button[data-remove]");
    const item = row && this.#find(row.dataset.key ?? "");
    if (remove && item) return void this.#setPictures(item, item.pictures.filter((_, number) => String(number) !== remove.dataset.remove));
    if (!button || !row) return;
    this.current = row.dataset.key ?? "";
    const group = this.#groupOf(this.current);
    const value = button.dataset.value ?? "";
    if (button.getAttribute("aria-pressed") === "true") this.clear();
    else if (group?.key !== this.current) this.grade(value);
    else this.markGroup(WHOLE.includes(value) ? "normal" : /** @type {"not_examined" | "seen"} */ (value));
  }

  /** @param {Event} event */
  #typed(event) {
    const row = around(event, "[data-key]");
    const item = row && this.#find(row.dataset.key ?? "");
    if (!row || !item) return;
    const inputs = [...row.querySelectorAll("input")];
    const [counted, examined] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
    if (counted === null || examined === null) return;
    if (!item.value) return void this.tell(interpolate(gettext("Grade %(name)s first."), { name: item.name }), true);
    for (const input of inputs) delete input.dataset.typed;
    this.#mark([{ key: item.key, value: item.value, counted, examined, pictures: item.pictures }]);
  }
}

/**
 * The part of an image around a cell, wide enough to show its neighbours: [image, x1, y1, x2, y2] in px.
 * @param {import("./types.js").Cell | undefined} cell
 * @param {Map<number, import("./types.js").SlideImage>} images
 * @returns {number[] | null}
 */
export function partAround(cell, images) {
  const image = cell && images.get(cell.image);
  if (!cell || !image) return null;
  const [x1, y1, x2, y2] = cell.box;
  const half = 1.25 * Math.max(x2 - x1, y2 - y1);
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const within = (/** @type {number} */ value, /** @type {number} */ most) => Math.round(Math.min(Math.max(value, 0), most));
  return [image.id, within(x - half, image.width), within(y - half, image.height), within(x + half, image.width), within(y + half, image.height)];
}

/**
 * The keys while the findings are shown.
 * @param {Findings} findings
 * @returns {Record<string, import("./keyboard.js").Action>}
 */
export function findingKeys(findings) {
  return {
    ArrowDown: { repeats: true, run: () => findings.move(1) },
    ArrowUp: { repeats: true, run: () => findings.move(-1) },
    PageDown: { repeats: true, run: () => findings.moveGroup(1) },
    PageUp: { repeats: true, run: () => findings.moveGroup(-1) },
    "]": { run: () => findings.moveGroup(1) },
    "[": { run: () => findings.moveGroup(-1) },
    ...Object.fromEntries(["0", "1", "2", "3"].map((key) => [key, { run: () => findings.grade(key) }])),
    a: { run: () => findings.markGroup("normal") },
    p: { run: () => findings.addPicture() },
    x: { run: () => findings.markGroup("not_examined") },
    s: { run: () => findings.markGroup("seen") },
    Delete: { run: () => findings.clear() },
    Backspace: { run: () => findings.clear() },
    u: { run: () => findings.undo() },
    "Ctrl+z": { run: () => findings.undo() },
    Escape: { run: () => findings.close() },
  };
}
