// The workbench: gallery, field and single cell of a case linked by one selection, and the keys that drive them.
// Knows the page; what a decision does to a case is the server's business.

import { Desk, make, readJson } from "./desk.js";
import { Field, uncovered } from "./field.js";
import { Gallery } from "./gallery.js";
import { Inspector } from "./inspector.js";
import { keysDialog } from "./keys.js";
import { Tally } from "./tally.js";

const PRESENT_EVERY_MS = 8000;

const root = document.getElementById("workbench");
const page = readJson("workbench-page");
const types = new Map(page.types.map((type) => [type.code, type]));
const canChange = root.dataset.closed !== "yes";
const desk = new Desk(page.urls, root.dataset.csrf);
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const gallery = new Gallery(document.getElementById("gallery"), desk, types, { canChange, evidence: page.evidence });
const field = new Field(document.getElementById("field"), types);
const inspector = new Inspector(document.getElementById("inspector"), desk, types, page.evidence);
new Tally(document.getElementById("tally"), desk, types, gallery, {
  canChange,
  onJump: (code) => {
    gallery.showGroup(code);
    const first = gallery.groups.get(code)?.list.children[0];
    if (first) desk.select([Number(first.dataset.id)]);
  },
});
let typeOf = new Map(page.types.map((type) => [type.key, type.code]));
let toldTimer = null;

// --- what the page says ---------------------------------------------------------------------------------------------

function tell(sentence, isRefusal = false) {
  const line = part("told");
  line.textContent = sentence;
  line.classList.toggle("is-refusal", isRefusal);
  line.classList.add("is-on");
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => line.classList.remove("is-on"), isRefusal ? 9000 : 3500);
}

function showProgress() {
  const cells = [...desk.cells.values()];
  const done = cells.filter((cell) => cell.decided).length;
  const look = desk.needingLook().length;
  part("done").textContent = `${done} of ${cells.length} confirmed`;
  part("bar").value = done;
  part("bar").max = Math.max(cells.length, 1);
  part("looks").textContent = look ? `${look} need a look` : "none needs a look";
  part("looks").classList.toggle("is-done", !look);
  part("next").disabled = !look;
  const isReady = cells.length > 0 && done === cells.length;
  part("report").classList.toggle("btn-primary", isReady);
  part("report").classList.toggle("btn-outline-primary", !isReady);
  part("settled").textContent = !cells.length
    ? ""
    : done === cells.length
      ? "Every cell is confirmed."
      : desk.summary?.settled
        ? "No remaining cell can change any flag, range call or blast decision."
        : look
          ? "Cells that could change a call come first."
          : "Some cells not yet confirmed could still change a call.";
}

function showPageButton() {
  const seen = gallery.seenPage();
  const button = part("confirm-page");
  const label = part("confirm-page-label");
  if (!canChange) return;
  button.disabled = !seen || seen.isEarly;
  label.textContent = !seen
    ? "No page"
    : seen.isEarly
      ? `Look at the ${seen.code} …`
      : `Confirm ${seen.ids.length} ${seen.code}`;
}

function showSelected() {
  const cell = desk.get(desk.current);
  inspector.show(cell, desk.selected.size);
  field.select(desk.selected);
  for (const button of part("palette").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(cell?.code === button.dataset.code && desk.selected.size === 1));
  }
  if (cell) showInField(cell);
}

function cellsOf(image) {
  return [...desk.cells.values()].filter((cell) => cell.image === image);
}

function showInField(cell) {
  const image = desk.images.get(cell.image);
  part("image").value = String(image.id);
  const isNew = field.image?.id !== image.id;
  field.show(image, cellsOf(image.id), () => (isNew ? field.centre(cell.box, { isImmediate: true }) : field.reveal(cell.box)));
}

// --- decisions --------------------------------------------------------------------------------------------------------

function decide(ids, code) {
  if (!canChange) return tell("This case is closed: its cells can be read, not changed.", true);
  if (!ids.length) return tell("Choose a cell first: an arrow key, N, or a click.");
  const only = ids.length === 1 ? desk.get(ids[0]) : null;
  const wasLook = only && !only.decided && only.look.length > 0;
  const order = desk.needingLook();
  const after = !only ? null : wasLook ? order[order.indexOf(only.id) + 1] ?? order[0] : neighbour(only.id);
  const name = code ?? only?.code ?? "their types";
  desk.decide(ids, code);
  if (wasLook && order.length === 1) gallery.showNextPage(); // the last single look: now the pages
  else if (only) goTo(after);
  else desk.select([], null);
  if (ids.length > 1) tell(code ? `${ids.length} cells are ${name} now. U takes it back.` : `${ids.length} cells confirmed. U takes it back.`);
  return null;
}

// The cell that stands after one in the gallery, as long as it is of the same group.
function neighbour(id) {
  const tile = gallery.tiles.get(id);
  const next = tile?.nextElementSibling ?? tile?.previousElementSibling;
  return next ? Number(next.dataset.id) : null;
}

function goTo(id) {
  if (id === null || id === undefined) return;
  desk.select([id]);
  gallery.anchor = id;
  gallery.focus(id);
}

function confirmPage() {
  if (!canChange) return decide([], null);
  const seen = gallery.seenPage();
  if (!seen) {
    if (!gallery.showNextPage()) tell(desk.needingLook().length ? "The cells left are looked at one by one: press N." : "Nothing is left to confirm.");
    return null;
  }
  if (seen.isEarly) return tell("Look at the page first: it has only just come into view.");
  desk.decide(seen.ids, null);
  tell(`${seen.ids.length} ${seen.code} confirmed. U takes it back.`);
  gallery.showNextPage();
  return null;
}

function step(direction) {
  const order = desk.needingLook();
  if (!order.length) return tell("No cell is left that needs a look.");
  const at = order.indexOf(desk.current);
  return goTo(order[at < 0 ? (direction > 0 ? 0 : order.length - 1) : (at + direction + order.length) % order.length]);
}

// --- adding a cell ----------------------------------------------------------------------------------------------------

function startAdding(box = null) {
  if (!canChange) return decide([], null);
  if (!field.image) return tell("Choose an image first.");
  field.startDraft(box);
  part("adding").hidden = false;
  return null;
}

function stopAdding() {
  part("adding").hidden = true;
  field.showNucleus(-1);
  return field.endDraft();
}

async function give(code) {
  if (!field.isDrawing) {
    decide([...desk.selected], code);
    return;
  }
  if (!field.draft) return; // the image is not open yet
  const nucleus = field.nucleus;
  await desk.add(field.image.id, stopAdding(), code);
  if (nucleus < 0 || !field.nuclei.length) return;
  field.nucleus = nucleus - 1; // the added one is no longer in the list
  nextNucleus(1);
}

function nextNucleus(direction) {
  if (!field.nuclei.length) return tell("The stain check found no nucleus without a box here.");
  const index = (field.nucleus + direction + field.nuclei.length) % field.nuclei.length;
  field.showNucleus(index);
  const [x1, y1, x2, y2] = field.nuclei[index];
  const margin = 2.5 / (field.image.um_per_px || 0.2);
  tell(`Nucleus ${index + 1} of ${field.nuclei.length} without a box. Press its type's key to add it, Esc to leave.`);
  return startAdding([x1 - margin, y1 - margin, x2 + margin, y2 + margin]);
}

// --- keys -------------------------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest?.("input, textarea, select, .dropdown-menu, .navbar")) return;
  const isOnControl = event.target.closest?.("button, a, summary");
  const done = () => event.preventDefault();
  if (gallery.hints && event.key !== "Shift") return done(gallery.typeHint(event.key));
  if (field.isDrawing) {
    if (ARROWS[event.key]) return done(field.moveDraft(...ARROWS[event.key], event.shiftKey));
    if (event.key === "Escape") return done(stopAdding());
    if (event.key === "Enter") return done(tell("Press the key of its type."));
  } else if (ARROWS[event.key] || event.key === "Home" || event.key === "End") {
    return done(gallery.move(event.key, event.shiftKey));
  }
  if (event.key === "Enter" && !isOnControl) {
    return done(event.shiftKey ? confirmPage() : decide([...desk.selected], null));
  }
  if (event.key === "Escape") return done(desk.select([], null));
  if (event.key === "?") return done(part("help").showModal());
  if (event.key === "[" || event.key === "]") return done(gallery.nextGroup(event.key === "]" ? 1 : -1));
  if (event.key === "+" || event.key === "-") return done(field.zoom(event.key === "+" ? 1.4 : 1 / 1.4));
  const key = event.key.toLowerCase();
  const act = {
    n: () => step(event.shiftKey ? -1 : 1),
    u: () => (event.shiftKey ? desk.redo() : desk.undo()),
    z: () => desk.get(desk.current) && field.centre(desk.get(desk.current).box),
    j: () => gallery.showHints(),
    a: () => startAdding(),
    c: () => nextNucleus(event.shiftKey ? -1 : 1),
    w: () => part("report").click(),
  }[key];
  if (act) return done(act());
  if (!event.shiftKey && typeOf.has(key)) return done(give(typeOf.get(key)));
  return null;
}

// --- the page ---------------------------------------------------------------------------------------------------------

function fillPalette() {
  part("palette").replaceChildren(
    ...[...types.values()].map((type) => {
      const button = make(
        "button",
        { type: "button", className: "type-key", dataset: { code: type.code }, title: `${type.name}, key ${type.key.toUpperCase()}` },
        make("span", { className: "code" }, type.code),
        make("kbd", {}, type.key.toUpperCase()),
      );
      button.style.setProperty("--type", type.color);
      button.setAttribute("aria-label", `${type.code} ${type.name}`);
      button.disabled = !canChange;
      button.addEventListener("click", () => give(type.code));
      if (canChange) gallery.acceptDrops(button, type.code);
      return button;
    }),
  );
}

function nameImages() {
  for (const option of part("image").options) {
    const image = desk.images.get(Number(option.value));
    const cells = cellsOf(image.id);
    const without = uncovered(image, cells).length;
    const nuclei = without ? `, ${without} nuclei without a box` : "";
    option.textContent = `${image.slide}, ${image.name} (${cells.length} cells${nuclei})`;
  }
}

function fillImages() {
  const many = desk.images.size > 1;
  part("image").replaceChildren(...[...desk.images.keys()].map((id) => make("option", { value: String(id) })));
  nameImages();
  part("where").replaceChildren(
    make("option", { value: "" }, many ? "All slides" : "The slide"),
    ...(many ? [...desk.images.values()].map((image) => make("option", { value: String(image.id) }, `${image.slide}, ${image.name}`)) : []),
  );
}

function showCollision({ sentence, cells, ids, code }) {
  const dialog = part("collision");
  dialog.querySelector("[data-part=sentence]").textContent = sentence;
  dialog.querySelector("[data-part=both]").replaceChildren(
    ...cells.map((cell) =>
      make(
        "li",
        {},
        make("img", { src: desk.crop(cell.id), alt: "", width: 88, height: 88 }),
        make("span", {}, make("strong", {}, cell.by || "Another reader"), " says ", make("span", { className: "code" }, cell.code)),
        make("span", {}, make("strong", {}, "You"), " said ", make("span", { className: "code" }, code ?? "the same as before")),
      ),
    ),
  );
  const again = dialog.querySelector("[data-part=again]");
  again.hidden = code === null || !ids.length;
  again.textContent = `Make it ${code} all the same`;
  again.onclick = () => {
    dialog.close();
    desk.decide(ids, code);
  };
  dialog.showModal();
}

async function present() {
  if (document.hidden) return;
  try {
    const answer = await desk.present();
    if (!answer) return;
    part("readers").hidden = !answer.readers.length;
    part("readers-names").textContent = answer.readers.join(", ");
    if (answer.is_signed && canChange) location.reload();
  } catch (problem) {
    tell(problem.message, true);
  }
}

desk.addEventListener("loaded", () => {
  fillImages();
  part("loading").hidden = true;
  part("nothing").hidden = desk.cells.size > 0;
  const asked = new URLSearchParams(location.search).getAll("code");
  const ofAsked = [...desk.needingLook(), ...gallery.order()].find((id) => asked.includes(desk.get(id).code));
  const first = ofAsked ?? desk.needingLook()[0] ?? gallery.order()[0];
  if (first !== undefined) goTo(first);
  else if (desk.images.size) field.show([...desk.images.values()][0], []);
});
desk.addEventListener("selected", showSelected);
desk.addEventListener("changed", () => {
  if (field.image) field.setCells(cellsOf(field.image.id));
  showSelected();
  showProgress();
  showPageButton();
});
desk.addEventListener("summary", () => {
  showProgress();
  nameImages();
});
desk.addEventListener("busy", () => root.classList.toggle("is-busy", desk.waiting > 0));
desk.addEventListener("told", (event) => tell(event.detail.sentence, event.detail.isRefusal));
desk.addEventListener("collided", (event) => showCollision(event.detail));
gallery.addEventListener("counted", showPageButton);
gallery.addEventListener("dropped", (event) => decide(event.detail.ids, event.detail.code));
field.addEventListener("pick", (event) => {
  const ids = event.detail.isMore ? [...desk.selected, event.detail.id] : [event.detail.id];
  desk.select(ids, event.detail.id);
  gallery.focus(event.detail.id);
});
field.addEventListener("drawn", () => tell("Now press the key of its type, or draw again."));
document.addEventListener("keydown", onKey);
part("next").addEventListener("click", () => step(1));
part("confirm-page").addEventListener("click", confirmPage);
part("undo").addEventListener("click", () => desk.undo());
part("redo").addEventListener("click", () => desk.redo());
part("add").addEventListener("click", () => (field.isDrawing ? stopAdding() : startAdding()));
part("nucleus").addEventListener("click", () => nextNucleus(1));
part("whole").addEventListener("click", () => field.whole());
part("help-open").addEventListener("click", () => part("help").showModal());
part("image").addEventListener("change", (event) => {
  const image = desk.images.get(Number(event.target.value));
  field.show(image, cellsOf(image.id), () => field.whole());
});
part("sort").addEventListener("change", (event) => {
  gallery.sort = event.target.value;
  gallery.fill();
});
part("where").addEventListener("change", (event) => {
  gallery.image = event.target.value ? Number(event.target.value) : null;
  gallery.fill();
});
part("open-only").addEventListener("change", (event) => {
  gallery.isOnlyOpen = event.target.checked;
  gallery.fill();
});
part("size").addEventListener("input", (event) => {
  gallery.root.style.setProperty("--tile", `${event.target.value}px`);
});
keysDialog(part("keys"), part("keys-open"), page, root.dataset.csrf, (changed) => {
  for (const type of changed) types.get(type.code).key = type.key;
  typeOf = new Map(changed.map((type) => [type.key, type.code]));
  fillPalette();
});
fillPalette();
part("confirm-page").hidden = !canChange;
part("add").hidden = !canChange;
desk.load().catch((problem) => tell(problem.message, true));
present();
setInterval(present, PRESENT_EVERY_MS);
