// The page of one slide: field, gallery and chosen cell linked, and the nuclei that no box covers.
// It waits for the analysis to end and then fetches its cells; relabelling is the workbench's work.

import { Desk, make, readJson } from "./desk.js";
import { Field, uncovered } from "./field.js";
import { Gallery } from "./gallery.js";
import { Inspector } from "./inspector.js";

const root = document.getElementById("slide");
const page = readJson("slide-page");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const hidden = new Set();
let field = null;
let toldTimer = null;

function tell(sentence) {
  part("told").textContent = sentence;
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => (part("told").textContent = ""), 5000);
}

function start() {
  if (field) return;
  root.hidden = false;
  const types = new Map(page.types.map((type) => [type.code, type]));
  const desk = new Desk(page.urls, root.dataset.csrf);
  const gallery = new Gallery(document.getElementById("gallery"), desk, types, { canChange: false, evidence: page.evidence });
  const inspector = new Inspector(document.getElementById("inspector"), desk, types, page.evidence);
  gallery.sort = "score";
  field = new Field(document.getElementById("field"), types);
  const cellsOf = (image) => [...desk.cells.values()].filter((cell) => cell.image === image);
  const open = (image, then) => {
    part("image").value = String(image.id);
    field.show(image, cellsOf(image.id), then);
    showNuclei();
  };

  function showToggles() {
    const counts = new Map();
    for (const cell of desk.cells.values()) counts.set(cell.code, (counts.get(cell.code) ?? 0) + 1);
    part("toggles").replaceChildren(
      ...page.types
        .filter((type) => counts.has(type.code))
        .map((type) => {
          const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
          swatch.style.backgroundColor = type.color;
          const button = make(
            "button",
            { type: "button", className: "toggle", title: type.name },
            swatch,
            make("span", { className: "code" }, type.code),
            make("span", { className: "toggle-count" }, String(counts.get(type.code))),
          );
          button.setAttribute("aria-pressed", String(!hidden.has(type.code)));
          button.addEventListener("click", () => {
            if (!hidden.delete(type.code)) hidden.add(type.code);
            button.setAttribute("aria-pressed", String(!hidden.has(type.code)));
            field.hide(hidden);
          });
          return button;
        }),
    );
  }

  function showNuclei() {
    const total = [...desk.images.values()].reduce((sum, image) => sum + uncovered(image, cellsOf(image.id)).length, 0);
    part("nuclei").hidden = !total;
    const here = field.nuclei.length;
    const place = field.nucleus >= 0 ? ` Shown: ${field.nucleus + 1} of ${here}.` : "";
    const elsewhere = desk.images.size > 1 ? ` (${here} on this image)` : "";
    part("nuclei-text").textContent =
      `The stain check found ${total} ${total === 1 ? "nucleus that no box covers" : "nuclei that no box covers"}${elsewhere}.${place}`;
    part("nucleus-next").textContent = field.nucleus >= 0 ? "Next" : "Show them one by one";
    part("nucleus-previous").hidden = field.nucleus < 0;
    if (part("nucleus-add")) part("nucleus-add").hidden = field.nucleus < 0;
  }

  function stepNucleus(direction) {
    if (!field.nuclei.length) {
      const image = [...desk.images.values()].find((each) => uncovered(each, cellsOf(each.id)).length);
      if (image) open(image, () => stepNucleus(1));
      return;
    }
    const from = field.nucleus < 0 && direction < 0 ? 0 : field.nucleus;
    field.showNucleus((from + direction + field.nuclei.length) % field.nuclei.length);
    showNuclei();
  }

  function showLimits() {
    const { total, is_limited: isLimited, sentences } = desk.summary;
    part("limits").hidden = !isLimited && total > 0;
    part("limits").textContent = sentences[0] ?? "";
    part("count").textContent = `${total} ${total === 1 ? "leukocyte" : "leukocytes"} counted`;
    const mark = document.getElementById("preliminary");
    if (!mark) return;
    mark.hidden = desk.summary.cells > 0 && desk.summary.undecided === 0;
    if (desk.summary.undecided < desk.summary.cells) mark.textContent = "preliminary, not all cells reviewed";
  }

  desk.addEventListener("loaded", () => {
    part("image").replaceChildren(
      ...[...desk.images.values()].map((image) =>
        make("option", { value: String(image.id) }, `${image.name}, ${cellsOf(image.id).length} cells`),
      ),
    );
    showToggles();
    open([...desk.images.values()][0]);
  });
  desk.addEventListener("summary", showLimits);
  desk.addEventListener("changed", () => {
    field.setCells(cellsOf(field.image.id));
    showToggles();
  });
  desk.addEventListener("selected", () => {
    const cell = desk.get(desk.current);
    inspector.show(cell, desk.selected.size);
    field.select(desk.selected);
    if (cell) open(desk.images.get(cell.image), () => field.reveal(cell.box));
  });
  desk.addEventListener("told", (event) => tell(event.detail.sentence));
  field.addEventListener("pick", (event) => {
    desk.select([event.detail.id]);
    gallery.focus(event.detail.id);
  });
  part("image").addEventListener("change", (event) => open(desk.images.get(Number(event.target.value)), () => field.whole()));
  part("sort").addEventListener("change", (event) => {
    gallery.sort = event.target.value;
    gallery.fill();
  });
  part("zoom-in").addEventListener("click", () => field.zoom(1.4));
  part("zoom-out").addEventListener("click", () => field.zoom(1 / 1.4));
  part("whole").addEventListener("click", () => field.whole());
  part("nucleus-next").addEventListener("click", () => stepNucleus(1));
  part("nucleus-previous").addEventListener("click", () => stepNucleus(-1));
  if (part("nucleus-add")) {
    part("nucleus-type").replaceChildren(
      ...page.types.filter((type) => type.code !== "NOT").map((type) => make("option", { value: type.code }, `${type.code} ${type.name}`)),
    );
    part("nucleus-save").addEventListener("click", async () => {
      const [x1, y1, x2, y2] = field.nuclei[field.nucleus];
      const margin = 2.5 / (field.image.um_per_px || 0.2);
      const code = part("nucleus-type").value;
      await desk.add(field.image.id, [x1 - margin, y1 - margin, x2 + margin, y2 + margin], code);
      tell(`Added as ${code}. The workbench can undo it.`);
      field.nucleus -= 1;
      if (field.nuclei.length) stepNucleus(1);
      else field.showNucleus(-1);
      showNuclei();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, .navbar")) return;
    const cell = desk.get(desk.current);
    const act = {
      ArrowLeft: () => gallery.move(event.key, event.shiftKey),
      ArrowRight: () => gallery.move(event.key, event.shiftKey),
      n: () => gallery.move("ArrowRight", false),
      p: () => gallery.move("ArrowLeft", false),
      "[": () => gallery.nextGroup(-1),
      "]": () => gallery.nextGroup(1),
      z: () => cell && field.centre(cell.box),
      "+": () => field.zoom(1.4),
      "-": () => field.zoom(1 / 1.4),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  desk.load().catch((problem) => tell(problem.message));
}

if (root.dataset.done === "done") start();
document.body.addEventListener("slide-done", start);
