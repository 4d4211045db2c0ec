// The field view: one image of a smear in OpenSeadragon with the boxes of its cells on a canvas above it.
// It knows boxes, types and colours; it does not know decisions.

const NUCLEUS = "#b8860b";

// It warns of every tile that arrives after another image was opened, which is what happens here all the time.
OpenSeadragon.console = { ...OpenSeadragon.console, error: (...words) => console.error(...words), warn: () => {} };

// The nuclei that no box covers: those of the stain check without the cells that readers have added since.
export function uncovered(image, cells) {
  const added = cells.filter((cell) => cell.added && cell.code !== "NOT");
  return image.nuclei.filter(([x1, y1, x2, y2]) => {
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    return !added.some(({ box }) => x > box[0] && x < box[2] && y > box[1] && y < box[3]);
  });
}

export class Field extends EventTarget {
  constructor(element, types) {
    super();
    this.types = types;
    this.image = null;
    this.cells = [];
    this.selected = new Set();
    this.hidden = new Set();
    this.nuclei = [];
    this.nucleus = -1;
    this.hovered = null;
    this.draft = null;
    this.isDrawing = false;
    this.viewer = OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorSizeRatio: 0.16,
      animationTime: 0.35,
      springStiffness: 9,
      minZoomImageRatio: 0.9,
      maxZoomPixelRatio: 5,
      visibilityRatio: 0.6,
      imageLoaderLimit: 2,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "field-boxes";
    this.canvas.setAttribute("aria-hidden", "true");
    this.tip = document.createElement("div");
    this.tip.className = "field-tip";
    this.tip.hidden = true;
    this.viewer.container.append(this.canvas, this.tip);
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true; // the page has keys of its own
    });
    this.viewer.addHandler("update-viewport", () => this.draw());
    this.viewer.addHandler("resize", () => this.draw());
    this.viewer.addHandler("open", () => this.#afterOpen());
    this.viewer.addHandler("canvas-click", (event) => {
      if (!event.quick || this.isDrawing) return;
      const cell = this.#at(event.position);
      if (cell) {
        event.preventDefaultAction = true;
        this.#say("pick", { id: cell.id, isMore: event.originalEvent.shiftKey || event.originalEvent.ctrlKey });
      }
    });
    const host = this.viewer.container;
    host.addEventListener("pointermove", (event) => this.#hover(event));
    host.addEventListener("pointerleave", () => this.#hover(null));
    this.canvas.addEventListener("pointerdown", (event) => this.#startBox(event));
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute("aria-label", "Field of the smear; the cells are listed in the gallery");
  }

  show(image, cells, then = null) {
    this.cells = cells;
    this.nuclei = uncovered(image, cells);
    if (this.image?.id === image.id) {
      then?.();
      this.draw();
      return;
    }
    this.image = image;
    this.nucleus = -1;
    this.afterOpen = then;
    const top = Math.ceil(Math.log2(Math.max(image.width, image.height)));
    this.viewer.open({
      width: image.width,
      height: image.height,
      tileSize: 512,
      tileOverlap: 0,
      minLevel: Math.max(top - 5, 0),
      maxLevel: top,
      getTileUrl: (level, x, y) => `${image.tiles}${level}/${x}_${y}.jpg`,
    });
  }

  setCells(cells) {
    this.cells = cells;
    this.nuclei = uncovered(this.image, cells);
    this.draw();
  }

  select(ids) {
    this.selected = ids;
    this.draw();
  }

  hide(codes) {
    this.hidden = codes;
    this.draw();
  }

  // Bring a box to the middle; `widthUm` of the smear around it are shown.
  centre(box, { isNear = false, isImmediate = false } = {}) {
    if (!this.viewer.isOpen()) return;
    const [x1, y1, x2, y2] = box;
    const side = (isNear ? 5 : 9) * Math.max(x2 - x1, y2 - y1, 12);
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const view = this.viewer.viewport;
    view.fitBounds(view.imageToViewportRectangle(x - side / 2, y - side / 2, side, side), isImmediate);
  }

  // Move only as far as is needed to see a box.
  reveal(box) {
    if (!this.viewer.isOpen()) return;
    const view = this.viewer.viewport;
    const seen = view.viewportToImageRectangle(view.getBounds());
    const isOut =
      box[0] < seen.x || box[1] < seen.y || box[2] > seen.x + seen.width || box[3] > seen.y + seen.height;
    if (isOut) view.panTo(view.imageToViewportCoordinates((box[0] + box[2]) / 2, (box[1] + box[3]) / 2));
  }

  whole() {
    if (this.viewer.isOpen()) this.viewer.viewport.goHome();
  }

  zoom(factor) {
    if (this.viewer.isOpen()) this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  showNucleus(index) {
    this.nucleus = index;
    if (index >= 0) this.centre(this.nuclei[index], { isNear: true });
    this.draw();
  }

  // A box to place: drawn with the mouse, or moved by arrow keys from the middle of what is seen.
  startDraft(box = null) {
    this.isDrawing = true; // from now on a type's key means the new cell, also while the image still opens
    this.draft = box && [...box];
    this.canvas.classList.add("is-drawing");
    this.viewer.setMouseNavEnabled(false);
    if (this.viewer.isOpen()) this.#placeDraft();
    else this.viewer.addOnceHandler("open", () => this.isDrawing && this.#placeDraft());
  }

  moveDraft(dx, dy, isSize) {
    if (!this.draft) return;
    const step = 6 / this.#transform().scale;
    const [x1, y1, x2, y2] = this.draft;
    const [w, h] = [dx * step, dy * step];
    this.draft = isSize
      ? [x1 - w / 2, y1 - h / 2, Math.max(x2 + w / 2, x1 + 8), Math.max(y2 + h / 2, y1 + 8)]
      : [x1 + w, y1 + h, x2 + w, y2 + h];
    this.draw();
  }

  endDraft() {
    const box = this.draft;
    this.draft = null;
    this.isDrawing = false;
    this.canvas.classList.remove("is-drawing");
    this.viewer.setMouseNavEnabled(true);
    this.draw();
    return box;
  }

  draw() {
    const host = this.viewer.container;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [host.clientWidth, host.clientHeight];
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!this.viewer.isOpen() || !this.viewer.world.getItemCount()) return;
    const { scale, left, top } = this.#transform();
    const place = ([x1, y1, x2, y2]) => [x1 * scale + left, y1 * scale + top, (x2 - x1) * scale, (y2 - y1) * scale];
    const later = [];
    for (const cell of this.cells) {
      if (this.hidden.has(cell.code)) continue;
      const [x, y, w, h] = place(cell.box);
      if (x > width || y > height || x + w < 0 || y + h < 0) continue;
      if (this.selected.has(cell.id) || cell === this.hovered) later.push([cell, x, y, w, h]);
      else this.#box(pen, cell, x, y, w, h, false);
    }
    for (const [cell, x, y, w, h] of later) this.#box(pen, cell, x, y, w, h, true);
    this.nuclei.forEach((box, index) => {
      if (this.nucleus < 0) return;
      const [x, y, w, h] = place(box);
      pen.setLineDash(index === this.nucleus ? [] : [4, 4]);
      pen.lineWidth = index === this.nucleus ? 3 : 1.5;
      pen.strokeStyle = index === this.nucleus ? "#ffd54a" : NUCLEUS;
      pen.beginPath();
      pen.ellipse(x + w / 2, y + h / 2, w * 0.75 + 3, h * 0.75 + 3, 0, 0, 2 * Math.PI);
      pen.stroke();
    });
    pen.setLineDash([]);
    if (this.draft) {
      const [x, y, w, h] = place(this.draft);
      pen.lineWidth = 4;
      pen.strokeStyle = "#000";
      pen.strokeRect(x, y, w, h);
      pen.lineWidth = 2;
      pen.strokeStyle = "#ffd54a";
      pen.strokeRect(x, y, w, h);
    }
    this.#scaleBar(pen, scale, height);
  }

  #box(pen, cell, x, y, w, h, isSelected) {
    const color = this.types.get(cell.code)?.color ?? "#555";
    if (isSelected) {
      pen.lineWidth = 6;
      pen.strokeStyle = "#fff";
      pen.setLineDash([]);
      pen.strokeRect(x - 2, y - 2, w + 4, h + 4);
    }
    pen.lineWidth = isSelected ? 3.5 : 2;
    pen.setLineDash(cell.look.length && !isSelected ? [5, 3] : []);
    pen.strokeStyle = color;
    pen.strokeRect(x - (isSelected ? 2 : 0), y - (isSelected ? 2 : 0), w + (isSelected ? 4 : 0), h + (isSelected ? 4 : 0));
    pen.setLineDash([]);
    if (w < 9 && !isSelected) return;
    const size = isSelected ? 13 : w < 26 ? 9 : 11;
    pen.font = `600 ${size}px system-ui, sans-serif`;
    const short = this.types.get(cell.code)?.short ?? cell.code;
    const text = cell.decided ? `${short} ✓` : short;
    const wide = pen.measureText(text).width + 6;
    const high = size + 4;
    const below = y - high < 0 ? y + h : y - high;
    pen.fillStyle = color;
    pen.fillRect(x - 1, below, wide, high);
    pen.fillStyle = "#fff";
    pen.textBaseline = "middle";
    pen.fillText(text, x + 2, below + high / 2 + 0.5);
  }

  #scaleBar(pen, scale, height) {
    if (!this.image.um_per_px) return this.#label(pen, "scale unknown", height);
    const perUm = scale / this.image.um_per_px;
    const um = [5, 10, 20, 50, 100, 200, 500].find((value) => value * perUm >= 50) ?? 1000;
    const wide = um * perUm;
    pen.fillStyle = "rgba(255,255,255,.85)";
    pen.fillRect(8, height - 30, wide + 12, 22);
    pen.fillStyle = "#1c1a20";
    pen.fillRect(14, height - 14, wide, 3);
    pen.font = "600 11px system-ui, sans-serif";
    pen.textBaseline = "alphabetic";
    pen.fillText(`${um} µm`, 14, height - 17);
  }

  #label(pen, text, height) {
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillStyle = "rgba(255,255,255,.85)";
    pen.fillRect(8, height - 28, pen.measureText(text).width + 12, 20);
    pen.fillStyle = "#1c1a20";
    pen.textBaseline = "middle";
    pen.fillText(text, 14, height - 18);
  }

  #placeDraft() {
    const view = this.viewer.viewport;
    const seen = view.viewportToImageRectangle(view.getBounds());
    const side = this.#sideOfACell(seen);
    const [x, y] = [seen.x + seen.width / 2, seen.y + seen.height / 2];
    this.draft ??= [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
    this.draw();
  }

  // As wide as the cells that are boxed on this image already; else an eighth of what is seen.
  #sideOfACell(seen) {
    const sides = this.cells.map(({ box }) => Math.max(box[2] - box[0], box[3] - box[1])).sort((a, b) => a - b);
    return sides.length ? sides[Math.floor(sides.length / 2)] : Math.min(seen.width, seen.height) / 8;
  }

  #transform() {
    const item = this.viewer.world.getItemAt(0);
    const origin = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const far = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(1000, 0));
    return { scale: (far.x - origin.x) / 1000, left: origin.x, top: origin.y };
  }

  #toImage(event) {
    const frame = this.viewer.container.getBoundingClientRect();
    const { scale, left, top } = this.#transform();
    return [(event.clientX - frame.left - left) / scale, (event.clientY - frame.top - top) / scale];
  }

  #at(position) {
    const { scale, left, top } = this.#transform();
    const [x, y] = [(position.x - left) / scale, (position.y - top) / scale];
    const margin = 3 / scale;
    let best = null;
    let least = Infinity;
    for (const cell of this.cells) {
      const [x1, y1, x2, y2] = cell.box;
      if (this.hidden.has(cell.code)) continue;
      if (x < x1 - margin || x > x2 + margin || y < y1 - margin || y > y2 + margin) continue;
      const far = (x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2;
      if (far < least) [best, least] = [cell, far];
    }
    return best;
  }

  #hover(event) {
    if (!event || this.isDrawing || !this.viewer.isOpen() || !this.viewer.world.getItemCount()) {
      this.tip.hidden = true;
      if (this.hovered) {
        this.hovered = null;
        this.draw();
      }
      return;
    }
    const frame = this.viewer.container.getBoundingClientRect();
    const position = { x: event.clientX - frame.left, y: event.clientY - frame.top };
    const cell = this.#at(position);
    if (cell !== this.hovered) {
      this.hovered = cell;
      this.draw();
    }
    this.tip.hidden = !cell;
    this.viewer.canvas.classList.toggle("is-on-cell", Boolean(cell));
    if (!cell) return;
    const name = this.types.get(cell.code)?.label ?? cell.code;
    const score = cell.score === null ? "added by a reader" : `score ${cell.score.toFixed(2)}`;
    this.tip.textContent = `${name} · ${score}${cell.look.length ? ` · ${cell.look.join(", ")}` : ""}`;
    this.tip.style.left = `${Math.max(Math.min(position.x + 14, frame.width - this.tip.offsetWidth - 4), 0)}px`;
    this.tip.style.top = `${Math.min(position.y + 16, frame.height - 30)}px`;
  }

  #startBox(event) {
    if (!this.isDrawing || event.button !== 0) return;
    event.preventDefault();
    const [x, y] = this.#toImage(event);
    this.canvas.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const [x2, y2] = this.#toImage(moved);
      this.draft = [Math.min(x, x2), Math.min(y, y2), Math.max(x, x2), Math.max(y, y2)];
      this.draw();
    };
    const up = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.#say("drawn");
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up, { once: true });
  }

  #afterOpen() {
    this.viewer.viewport.goHome(true);
    this.afterOpen?.();
    this.afterOpen = null;
    this.draw();
    this.#say("opened");
  }

  #say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
