// The page of one slide: field, gallery and chosen cell linked, and the possible missed cells.
// It waits for the analysis to end and is then exchanged as a whole; relabelling is the workbench's work.

import { ELEMENT_COLORS } from "./boxes.js";
import { make, readJson } from "./page.js";
import { uncovered } from "./places.js";
import { listenToKeys } from "./keyboard.js";
import { guardQueue } from "./saving.js";
import { startRegions } from "./regions.js";
import { openScanned } from "./scanned.js";
import { lookingKeys, Views } from "./views.js";
import { gettext, interpolate, ngettext } from "./words.js";


/** @type {Views | null} */
let views = null;
/** @type {Record<string, import("./keyboard.js").Action>} */
let keys = {};

/** @param {HTMLElement} root */
function start(root) {
  const page = readJson("slide-page");
  const shown = new Views(root, page, false);
  views = shown;
  const { desk, field, gallery, types } = shown;
  const part = (/** @type {string} */ name) => shown.part(name);
  const hidden = new Set();
  /** @type {Record<string, number[][]>[]} boxes of red cells and platelets, image by image */
  let elements = [];
  gallery.sort = "score";
  keys = {
    ...lookingKeys(shown),
    n: { repeats: true, run: () => gallery.move("ArrowRight", false) },
    p: { repeats: true, run: () => gallery.move("ArrowLeft", false) },
    z: { run: () => shown.centre() },
  };

  function showToggles() {
    const shownTypes = types.all().filter((type) => desk.census.count(type.code).all);
    part("toggles").replaceChildren(...shownTypes.map((type) => toggleOf(type, desk.census.count(type.code).all)), ...elementToggles());
  }

  /** One button for platelets and one for red cells, where the detector has counted them; their boxes are hidden at first. */
  function elementToggles() {
    const names = { PLT: gettext("Platelets"), RBC: gettext("Red cells") };
    return Object.entries(names).filter(([code]) => elements.some((own) => own[code]?.length)).map(([code, name]) => {
      const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = ELEMENT_COLORS[code];
      const number = elements.reduce((sum, own) => sum + (own[code]?.length ?? 0), 0);
      const button = make("button", { type: "button", className: "toggle", title: gettext("Found by the detector, as help"), dataset: { code } }, swatch, name, make("span", { className: "toggle-count" }, String(number)));
      button.setAttribute("aria-pressed", String(field.elementCodes.has(code)));
      button.addEventListener("click", () => {
        const isShown = !field.elementCodes.delete(code);
        if (isShown) field.elementCodes.add(code);
        button.setAttribute("aria-pressed", String(isShown));
        field.draw();
      });
      return button;
    });
  }

  async function loadElements() {
    const answer = await fetch(page.urls.elements, { headers: { Accept: "application/json" } });
    if (!answer.ok) return; // help only: the page does without it
    const { images } = await answer.json();
    elements = Object.values(images);
    field.elements = new Map(Object.entries(images).map(([id, own]) => [Number(id), own]));
    showToggles();
    field.draw();
  }

  /**
   * @param {import("./types.js").CellType} type
   * @param {number} count
   */
  function toggleOf(type, count) {
    const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = type.color;
    const number = make("span", { className: "toggle-count" }, String(count));
    const button = make("button", { type: "button", className: "toggle", title: type.label, dataset: { code: type.code } }, swatch, type.short, number);
    button.setAttribute("aria-pressed", String(!hidden.has(type.code)));
    button.addEventListener("click", () => {
      if (!hidden.delete(type.code)) hidden.add(type.code);
      button.setAttribute("aria-pressed", String(!hidden.has(type.code)));
      field.hide(hidden);
    });
    return button;
  }

  function showMissed() {
    const total = shown.missed();
    part("nuclei").hidden = !total;
    const place = field.nucleus >= 0 ? interpolate(gettext(" Shown: %(place)s of %(count)s."), { place: field.nucleus + 1, count: field.nuclei.length }) : "";
    const elsewhere = desk.images.size > 1 ? interpolate(gettext(" (%(count)s on this image)"), { count: field.nuclei.length }) : "";
    part("nuclei-text").textContent = `${interpolate(ngettext("%(count)s possible missed cell", "%(count)s possible missed cells", total), { count: total })}${elsewhere}.${place}`;
    part("nucleus-next").textContent = field.nucleus >= 0 ? gettext("Next") : gettext("Review");
    part("nucleus-previous").hidden = field.nucleus < 0;
    if (part("nucleus-add")) part("nucleus-add").hidden = field.nucleus < 0;
  }

  function showLimits() {
    if (!desk.summary) return;
    const { total, is_limited: isLimited, sentences, cells, undecided } = desk.summary;
    part("limits").hidden = !isLimited && total > 0;
    part("limits").textContent = sentences[0] ?? "";
    part("count").textContent = interpolate(ngettext("%(count)s leukocyte counted", "%(count)s leukocytes counted", total), { count: total });
    const mark = document.getElementById("preliminary");
    if (!mark) return;
    mark.hidden = cells > 0 && undecided === 0;
    if (undecided < cells) mark.textContent = gettext("preliminary, not all cells reviewed");
  }

  async function addMissed() {
    const code = part("nucleus-type").value;
    if (!field.image || !(await desk.add(field.image.id, shown.missedBox(), code))) return;
    shown.tell(interpolate(gettext("Added: %(name)s. The workbench can undo it."), { name: types.name(code) }));
    field.nucleus -= 1;
    if (field.nuclei.length) shown.stepMissed(1, showMissed);
    else field.showNucleus(-1);
    showMissed();
  }

  desk.addEventListener("loaded", () => {
    part("image").replaceChildren(
      ...[...desk.images.values()].map((image) => {
        const cells = desk.cellsOn(image.id);
        const missed = uncovered(image, cells).length;
        return make("option", { value: String(image.id) }, `${image.name}, ${interpolate(ngettext("%(count)s cell", "%(count)s cells", cells.length), { count: cells.length })}${missed ? interpolate(gettext(", %(missed)s possible missed"), { missed }) : ""}`);
      }),
    );
    showToggles();
    shown.open([...desk.images.values()][0]);
  });
  desk.addEventListener("summary", showLimits);
  desk.addEventListener("changed", showToggles);
  root.addEventListener("image-shown", showMissed);
  part("zoom-in").addEventListener("click", () => field.zoom(1.4));
  part("zoom-out").addEventListener("click", () => field.zoom(1 / 1.4));
  part("nucleus-next").addEventListener("click", () => shown.stepMissed(1, showMissed));
  part("nucleus-previous").addEventListener("click", () => shown.stepMissed(-1, showMissed));
  if (part("nucleus-add")) {
    part("nucleus-type").replaceChildren(
      ...types.all().filter((type) => type.code !== "NOT").map((type) => make("option", { value: type.code }, type.label)),
    );
    part("nucleus-save").addEventListener("click", addMissed);
  }
  startRegions(root, field, shown.tell.bind(shown));
  guardQueue(desk, part("saving"), shown.tell.bind(shown));
  desk.load().then(loadElements).catch((problem) => shown.tell(problem.message, true));
}

// The part of the page below its heading is there only when the analysis is done, and htmx brings it then.
function startWhenDone() {
  const root = document.getElementById("slide");
  if (root && root !== views?.root) start(root);
}

listenToKeys(
  (name) => keys[name],
  (text) => {
    const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("scanned"));
    const tell = (/** @type {string} */ sentence, isRefusal = false) => views?.tell(sentence, isRefusal);
    if (views) openScanned(text, views.desk.urls.scanned, dialog, tell);
  },
);
startWhenDone();
document.body.addEventListener("htmx:afterSettle", startWhenDone);
