// The workbench: gallery, field and single cell of a case linked by one selection, and the keys that drive them.
// It knows the page; what a decision does to a case is the server's business.

import { around, make, readJson } from "./page.js";
import { acceptDrops } from "./gallery_mouse.js";
import { showCollision } from "./collision.js";
import { draftKeys, DrawnPicture } from "./drafts.js";
import { findingKeys, Findings, partAround } from "./findings.js";
import { listenToKeys, SCAN_GAP_MS } from "./keyboard.js";
import { keysDialog } from "./keys.js";
import { adjustLight } from "./light.js";
import { Panes } from "./panes.js";
import { uncovered } from "./places.js";
import { guardQueue, showFilmSaving } from "./saving.js";
import { showPlace } from "./place.js";
import { openScanned } from "./scanned.js";
import { Sheet, sheetKeys } from "./sheet.js";
import { Tally } from "./tally.js";
import { lookingKeys, Views } from "./views.js";
import { gettext, interpolate, ngettext } from "./words.js";

/** @typedef {import("./keyboard.js").Action} Action */

const PRESENT_EVERY_MS = 8000;
const LOOK_FOR_CELLS_EVERY_MS = 2000;

const root = /** @type {HTMLElement} */ (document.getElementById("workbench"));
const page = readJson("workbench-page");
const canChange = root.dataset.closed !== "yes";
const views = new Views(root, page, canChange);
const { desk, field, gallery, inspector, types } = views;
const part = (/** @type {string} */ name) => views.part(name);
const tell = views.tell.bind(views);
const sheet = new Sheet(root, part("sheet"), desk, types, tell);
const findings = new Findings(root, part("film"), { url: page.urls.findings, reader: page.reader, canChange, tell, chosen: () => partAround(desk.get(desk.current), desk.images) });
void showPlace(part, page.urls);
const panes = new Panes(root, part("panes"), () => views.centre(true));
const drawn = new DrawnPicture(field, findings, part("drawing"), () => panes.needField());
new Tally(/** @type {HTMLElement} */ (document.getElementById("tally")), desk, types, gallery, {
  canChange,
  onJump: (code) => {
    gallery.showGroup(code);
    const first = gallery.first(code);
    if (first !== undefined) desk.select([first]);
  },
});

// --- what the page says ---------------------------------------------------------------------------------------------

function showProgress() {
  const { cells, decided } = desk.census;
  const look = desk.order.count;
  part("done").textContent = interpolate(gettext("%(decided)s of %(cells)s reviewed"), { decided, cells });
  part("bar").value = decided;
  part("bar").max = Math.max(cells, 1);
  part("looks").textContent = look ? interpolate(gettext("%(look)s to review singly"), { look }) : gettext("none to review singly");
  part("looks").classList.toggle("is-done", !look);
  part("next").disabled = !look;
  const isReady = cells > 0 && decided === cells;
  part("report").classList.toggle("btn-primary", isReady);
  part("report").classList.toggle("btn-outline-primary", !isReady);
  part("settled").textContent = whatIsOpen(cells, decided, look);
}

/**
 * @param {number} all
 * @param {number} done
 * @param {number} look
 */
function whatIsOpen(all, done, look) {
  if (!all) return "";
  if (done === all) return gettext("All cells reviewed.");
  if (desk.summary?.settled) return gettext("Remaining cells cannot change the result.");
  return look ? gettext("Sorted by impact on the result.") : gettext("Unreviewed cells could still change the result.");
}

function showPageButton() {
  if (!canChange) return;
  const seen = gallery.seenPage();
  part("confirm-page").disabled = !seen || seen.isEarly;
  part("confirm-page-label").textContent = !seen
    ? gettext("Nothing to confirm")
    : seen.isEarly
      ? gettext("Loading…")
      : interpolate(gettext("Confirm %(count)s %(type)s"), { count: seen.ids.length, type: types.get(seen.code).short });
  part("confirm-page").dataset.code = seen?.code ?? "";
}

function showPressed() {
  const cell = desk.get(desk.current);
  for (const button of part("palette").querySelectorAll("[data-code]")) {
    button.setAttribute("aria-pressed", String(cell?.code === button.dataset.code && desk.selected.size === 1));
  }
}

// --- decisions --------------------------------------------------------------------------------------------------------

function refuseClosed() {
  tell(gettext("This case is closed: its cells are read-only."), true);
}

/**
 * Why these cells may not be decided now; "" where they may: each has been on the screen, with a picture of its own.
 * @param {number[]} ids
 * @param {boolean} isInGallery the reader sees the tiles, not the large picture
 */
function unseen(ids, isInGallery) {
  if (!ids.length) return gettext("Choose a cell first: an arrow key, N, or a click.");
  if (ids.length === 1 && !isInGallery) {
    if (inspector.stood(ids[0])) return "";
    if (!inspector.isInWindow) return gettext("Scroll to the picture of the cell first.");
    if (!inspector.hasFailed) return gettext("Loading the picture…");
    inspector.retry();
    return gettext("The picture of this cell could not be loaded; loading it again. A cell is not decided unseen.");
  }
  const missing = ids.filter((id) => !gallery.hasShown(id)).length;
  return missing ? interpolate(gettext("%(missing)s of %(count)s cells have not been on the screen yet: scroll to them first."), { missing, count: ids.length }) : "";
}

/**
 * Label cells, or confirm them with code null, and go to the next one.
 * @param {number[]} ids
 * @param {string | null} code
 * @param {boolean} isInGallery
 * @returns {(() => void) | undefined} takes the decision back while it is not sent
 */
function decide(ids, code, isInGallery = false) {
  if (!canChange) return void refuseClosed();
  const problem = unseen(ids, isInGallery);
  if (problem) return void tell(problem);
  const [selected, current] = [[...desk.selected], desk.current];
  const only = ids.length === 1 ? desk.get(ids[0]) : undefined;
  const wasLook = only && !only.decided && only.look.length > 0;
  const isLastLook = wasLook && desk.order.count === 1;
  const after = !only ? null : wasLook ? desk.order.beside(only.id, 1) : gallery.neighbour(only.id);
  const retract = desk.decide(ids, code);
  if (isLastLook) gallery.showNextPage(); // the last single look: now the pages
  else if (only) views.goTo(after);
  else desk.select([], null);
  const what = only ? types.get(only.code).label : `${ids.length} cells`;
  if (code && code !== only?.code) tellUndo(`${what} → ${types.name(code)}.`);
  else if (!only) tellUndo(`${what} confirmed.`);
  return () => {
    retract();
    desk.select(selected, current);
  };
}

/** @param {string} sentence */
function tellUndo(sentence) {
  tell(sentence, false, { name: "Undo", run: () => desk.undo() });
}

function confirmPage() {
  if (!canChange) return void refuseClosed();
  const seen = gallery.seenPage();
  if (!seen) {
    if (!gallery.showNextPage()) tell(desk.order.count ? gettext("The cells left are reviewed one by one: press N.") : gettext("Nothing to confirm."));
    return undefined;
  }
  if (seen.isEarly) return void tell("Loading…");
  const retract = desk.decide(seen.ids, null);
  tellUndo(`${seen.ids.length} confirmed: ${types.name(seen.code)}.`);
  gallery.showNextPage();
  return retract;
}

/** @param {1 | -1} direction */
function step(direction) {
  if (sheet.isOn) sheet.close();
  if (!desk.order.count) return tell(gettext("All cells that need a single review are reviewed."));
  return views.goTo(desk.order.beside(desk.current, direction));
}

// --- adding a cell ----------------------------------------------------------------------------------------------------

/** @param {number[] | null} box */
function startAdding(box = null) {
  if (!canChange) return void refuseClosed();
  if (!field.image) return void tell(gettext("Choose an image first."));
  panes.needField();
  stopMeasuring();
  field.startDraft(box);
  part("adding").hidden = false;
  return stopAdding;
}

function stopAdding() {
  part("adding").hidden = true;
  field.showNucleus(-1);
  return field.endDraft();
}

/**
 * A type's key or button: the type of the chosen cells, or of the cell that is being added.
 * @param {string} code
 */
function give(code) {
  if (drawn.isOn) return drawn.end(false);
  if (!field.isDrawing) return decide([...desk.selected], code);
  if (!field.draft) return undefined; // the image is not open yet
  return unlessScanned(() => add(code));
}

/** @param {string} code */
async function add(code) {
  const { nucleus, image } = field;
  const box = stopAdding();
  if (!image || !box || !(await desk.add(image.id, box, code)) || nucleus < 0 || !field.nuclei.length) return;
  field.nucleus = nucleus - 1; // the added one is no longer in the list
  nextMissed(1);
}

/** @param {number} direction */
function nextMissed(direction) {
  if (views.missed()) panes.needField();
  const isThere = views.stepMissed(direction, () => {
    tell(interpolate(gettext("Possible missed cell %(place)s of %(count)s. Press its type’s key to add it, Esc to leave."), { place: field.nucleus + 1, count: field.nuclei.length }));
    startAdding(views.missedBox());
  });
  if (!isThere) tell(gettext("No possible missed cells."));
  return isThere ? stopAdding : undefined;
}

// --- looking closely --------------------------------------------------------------------------------------------------

/**
 * Give the chosen cell one of the detector's best types.
 * @param {number} place 0: the best
 */
function giveBest(place) {
  const cell = desk.selected.size === 1 ? desk.get(desk.current) : undefined;
  if (field.isDrawing) return void tell(gettext("Press the key of its type.")); // that cell is not the chosen one
  if (!cell) return void tell(gettext("Choose one cell first."));
  const chance = cell.chances[place];
  if (!chance) return void tell(gettext("The detector named no such type for this cell."));
  return decide([cell.id], chance[0]);
}

function toggleMeasuring() {
  if (field.isMeasuring) return stopMeasuring();
  if (!field.umPerPx) return void tell(gettext("The scale of this image is unknown: nothing can be measured on it."));
  panes.needField();
  if (field.isDrawing) stopAdding();
  field.measure(true);
  part("measure").setAttribute("aria-pressed", "true");
  tell(gettext("Draw a line with the mouse to measure it. Esc ends."));
  return stopMeasuring;
}

/** Escape leaves one thing: an open menu closes by itself; then measuring, then the chosen cell. @param {KeyboardEvent} event */
function leave(event) {
  if (event.target === part("light-open")) return;
  if (field.isMeasuring) stopMeasuring();
  else desk.select([], null);
}

function stopMeasuring() {
  field.measure(false);
  part("measure").setAttribute("aria-pressed", "false");
}

function openSheet() {
  if (!canChange) return refuseClosed();
  if (!sheet.open(desk.get(desk.current)?.code)) tell(desk.order.count ? gettext("The cells left are reviewed one by one: press N.") : gettext("Nothing to confirm."));
}

/**
 * Do something that a scanner's first character must not do: its next one comes before.
 * @param {() => void} run
 */
function unlessScanned(run) {
  const timer = setTimeout(run, SCAN_GAP_MS);
  return () => clearTimeout(timer);
}

// --- keys -------------------------------------------------------------------------------------------------------------

const LOOKING = lookingKeys(views);

/** @type {Record<string, Action>} */
const KEYS = {
  ...LOOKING,
  Enter: { retracts: true, run: () => decide([...desk.selected], null) },
  "Shift+Enter": { retracts: true, run: confirmPage },
  Escape: { run: leave },
  "?": { run: () => part("help").showModal() },
  n: { run: () => step(1) },
  "Shift+n": { run: () => step(-1) },
  u: { retracts: true, run: () => desk.undo() },
  "Shift+u": { retracts: true, run: () => desk.redo() },
  "Ctrl+z": { run: () => desk.undo() },
  "Ctrl+Shift+z": { run: () => desk.redo() },
  "Ctrl+y": { run: () => desk.redo() },
  z: {
    run: () => {
      panes.needField();
      views.centre();
    },
  },
  ...Object.fromEntries(["1", "2", "3"].map((key, place) => [key, { retracts: true, run: () => giveBest(place) }])),
  "Shift+b": { retracts: true, run: () => unlessScanned(() => part("light-open").click()) },
  "Shift+f": { retracts: true, run: () => unlessScanned(() => panes.next()) },
  "Shift+r": { retracts: true, run: () => unlessScanned(() => findings.open()) },
  "Shift+s": { retracts: true, run: () => unlessScanned(openSheet) },
  "Shift+m": { retracts: true, run: () => unlessScanned(toggleMeasuring) },
  j: {
    retracts: true,
    run: () => {
      gallery.showHints();
      return () => gallery.hints.hide();
    },
  },
  a: { retracts: true, run: () => startAdding() },
  c: { retracts: true, run: () => nextMissed(1) },
  "Shift+c": { retracts: true, run: () => nextMissed(-1) },
  w: { retracts: true, run: () => unlessScanned(() => part("report").click()) },
};

/** While the contact sheet is shown. @type {Record<string, Action>} */
const SHEET = {
  ...Object.fromEntries([" ", "?", "u", "Shift+u", "Ctrl+z", "Ctrl+Shift+z", "Ctrl+y"].map((key) => [key, KEYS[key]])),
  ...sheetKeys(sheet),
};

/** While the findings are shown. @type {Record<string, Action>} */
const FINDINGS = { "?": KEYS["?"], ...findingKeys(findings), "Shift+p": { run: () => drawn.start() } };

/** While a box is placed, these come first. @type {Record<string, Action>} */
const DRAWING = {
  ...draftKeys(field),
  Escape: { run: stopAdding },
  Enter: { run: () => tell(gettext("Press the key of its type.")) },
};

listenToKeys(
  (name, event) => {
    if (gallery.hints.isOn && event.key !== "Shift" && !name.startsWith("Ctrl+")) return { run: () => gallery.typeHint(event.key) };
    if (sheet.hints.isOn && event.key !== "Shift" && !name.startsWith("Ctrl+")) return { run: () => sheet.typeHint(event.key) };
    const code = types.ofKey(name);
    if (drawn.isOn) return drawn.keys[name] ?? null;
    if (findings.isOn) return FINDINGS[name] ?? null;
    if (sheet.isOn) return SHEET[name] ?? (code ? { retracts: true, run: () => sheet.give(code) } : null);
    if (code) return { retracts: true, run: () => give(code) };
    return (field.isDrawing && DRAWING[name]) || KEYS[name];
  },
  (text) => openScanned(text, page.urls.scanned, part("scanned"), tell),
);

// --- the page ---------------------------------------------------------------------------------------------------------

function fillPalette() {
  const confirm = make("button", { type: "button", className: "type-key type-key-confirm", title: gettext("Confirm the chosen cell as it is") }, gettext("Confirm"), make("kbd", {}, "⏎"));
  confirm.disabled = !canChange;
  confirm.addEventListener("click", () => decide([...desk.selected], null));
  part("palette").replaceChildren(
    ...types.all().map((type) => {
      const button = make(
        "button",
        { type: "button", className: "type-key", dataset: { code: type.code }, title: `${type.label}, key ${type.key.toUpperCase()}` },
        make("span", {}, type.short),
        make("kbd", {}, type.key.toUpperCase()),
      );
      button.style.setProperty("--type", type.color);
      button.setAttribute("aria-label", type.label);
      button.disabled = !canChange;
      button.addEventListener("click", () => give(type.code));
      if (canChange) acceptDrops(gallery, button, type.code);
      return button;
    }),
    confirm,
  );
}

function nameImages() {
  for (const option of part("image").options) {
    const image = desk.images.get(Number(option.value));
    if (!image) continue;
    const cells = desk.cellsOn(image.id);
    const missed = uncovered(image, cells).length;
    option.textContent = `${image.slide}, ${image.name} (${interpolate(ngettext("%(count)s cell", "%(count)s cells", cells.length), { count: cells.length })}${missed ? interpolate(gettext(", %(missed)s possible missed"), { missed }) : ""})`;
  }
}

function fillImages() {
  const many = desk.images.size > 1;
  part("image").replaceChildren(...[...desk.images.keys()].map((id) => make("option", { value: String(id) })));
  nameImages();
  part("where").replaceChildren(
    make("option", { value: "" }, many ? gettext("All slides") : gettext("Whole slide")),
    ...(many ? [...desk.images.values()].map((image) => make("option", { value: String(image.id) }, `${image.slide}, ${image.name}`)) : []),
  );
}

async function present() {
  if (document.hidden) return;
  try {
    const answer = await desk.present();
    if (!answer) return;
    part("readers").hidden = !answer.readers.length;
    part("readers-names").textContent = answer.readers.join(", ");
    if (answer.is_signed && canChange) location.reload();
  } catch {
    // The saving chip says that the connection is lost, as soon as there is something to save.
  }
}

// While the detector works there is nothing to review yet: the cells come by themselves when a slide is read.
function showAnalysis() {
  const analysing = desk.summary?.analysing ?? [];
  part("analysing").hidden = !analysing.length;
  part("analysing-text").textContent = analysing.join(" ");
  part("nothing").hidden = desk.cells.size > 0 || analysing.length > 0;
  root.classList.toggle("is-analysing", analysing.length > 0 && !desk.cells.size);
  if (analysing.length) setTimeout(() => (desk.waiting ? showAnalysis() : desk.load(true).catch(showAnalysis)), LOOK_FOR_CELLS_EVERY_MS);
}

let isOpened = false;
desk.addEventListener("loaded", () => {
  part("loading").hidden = true;
  fillImages();
  showAnalysis();
  if (isOpened) return;
  const asked = new URLSearchParams(location.search).getAll("code");
  const look = desk.order.after(null, desk.order.count);
  const ofAsked = look.find((id) => asked.includes(desk.get(id)?.code ?? "")) ?? gallery.first(asked.find((code) => desk.census.count(code).all));
  const first = (asked.length ? ofAsked : undefined) ?? look[0] ?? gallery.first();
  isOpened = first !== undefined;
  if (isOpened) views.goTo(first);
  else if (desk.images.size && !field.image) views.open([...desk.images.values()][0]);
});
desk.addEventListener("selected", () => {
  showPressed();
  inspector.prefetch(desk.order.after(desk.current, 3));
});
desk.addEventListener("changed", () => {
  showPressed();
  showProgress();
  showPageButton();
});
desk.addEventListener("summary", () => {
  showProgress();
  nameImages();
});
desk.addEventListener("saving", () => root.classList.toggle("is-busy", desk.waiting > 0));
desk.addEventListener("collided", (event) => showCollision(part("collision"), desk, types, /** @type {CustomEvent} */ (event).detail));
gallery.addEventListener("counted", showPageButton);
gallery.addEventListener("dropped", (event) => {
  const { ids, code } = /** @type {CustomEvent} */ (event).detail;
  decide(ids, code, true);
});
field.addEventListener("drawn", () => findings.isOn || tell(gettext("Now press the key of its type, or draw again.")));
field.addEventListener("measured", (event) => tell(`${/** @type {CustomEvent} */ (event).detail.um.toFixed(1)} µm`));
part("next").addEventListener("click", () => step(1));
part("confirm-page").addEventListener("click", confirmPage);
part("undo").addEventListener("click", () => desk.undo());
part("redo").addEventListener("click", () => desk.redo());
part("add").addEventListener("click", () => (field.isDrawing ? stopAdding() : startAdding()));
part("nucleus").addEventListener("click", () => nextMissed(1));
part("measure").addEventListener("click", toggleMeasuring);
part("sheet-open").addEventListener("click", openSheet);
part("film-open").addEventListener("click", () => findings.open());
part("film-draw").addEventListener("click", () => drawn.start());
part("film-close").addEventListener("click", () => findings.close());
part("chances").addEventListener("click", (/** @type {Event} */ event) => {
  const button = around(event, "button");
  if (button) giveBest([...part("chances").children].indexOf(button));
});
root.addEventListener("image-shown", () => {
  part("measure").disabled = !field.umPerPx;
  if (field.isMeasuring && part("measure").disabled) stopMeasuring();
});
adjustLight(root, part("light"), part("light-open"));
part("help-open").addEventListener("click", () => part("help").showModal());
part("where").addEventListener("change", () => {
  gallery.image = part("where").value ? Number(part("where").value) : null;
  gallery.fill();
});
part("open-only").addEventListener("change", () => {
  gallery.isOnlyOpen = part("open-only").checked;
  gallery.fill();
});
part("size").addEventListener("input", () => gallery.root.style.setProperty("--tile", `${part("size").value}px`));
keysDialog(part("keys"), part("keys-open"), page, (/** @type {any[]} */ changed) => {
  for (const type of changed) types.get(type.code).key = type.key;
  fillPalette();
});
guardQueue(desk, part("saving"), tell);
showFilmSaving(findings, part("saving"));
fillPalette();
part("confirm-page").hidden = !canChange;
part("sheet-open").hidden = !canChange;
part("add").hidden = !canChange;
desk.load().catch((problem) => tell(problem.message, true));
present();
setInterval(present, PRESENT_EVERY_MS);
