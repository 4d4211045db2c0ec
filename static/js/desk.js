// The cells of a case as this page holds them: what is selected, and the one way to change a label.
// Knows the server's JSON doors; knows nothing of how cells are drawn.

export class Refused extends Error {}

export class Desk extends EventTarget {
  constructor(urls, csrfToken) {
    super();
    this.urls = urls;
    this.csrfToken = csrfToken;
    this.cells = new Map();
    this.images = new Map();
    this.selected = new Set();
    this.current = null;
    this.summary = null;
    this.lastDecision = 0;
    this.queue = Promise.resolve();
    this.waiting = 0;
  }

  async load() {
    const loaded = await this.#ask(this.urls.cells);
    this.images = new Map(loaded.images.map((image) => [image.id, image]));
    this.cells = new Map(loaded.cells.map((cell) => [cell.id, cell]));
    this.#noteLast(loaded.cells);
    this.summary = loaded.summary;
    this.#say("loaded");
    this.#say("summary");
  }

  get(id) {
    return this.cells.get(id);
  }

  crop(id) {
    return this.urls.crop.replace("/0/", `/${id}/`);
  }

  around(id) {
    return this.urls.around.replace("/0/", `/${id}/`);
  }

  select(ids, current = ids.at(-1) ?? null) {
    this.selected = new Set(ids);
    this.current = current;
    this.#say("selected");
  }

  // Cells that need a person's look, in the server's order by what they could change.
  needingLook() {
    return (this.summary?.order ?? []).filter((id) => {
      const cell = this.cells.get(id);
      return cell && !cell.decided;
    });
  }

  // The page shows the label at once; the server's answer is the truth. Requests go out one after the other, so each
  // carries the decision that its cell really had.
  decide(ids, code, reason = "") {
    const before = ids.map((id) => ({ ...this.cells.get(id) }));
    const changed = ids.map((id) => {
      const cell = this.cells.get(id);
      return { ...cell, code: code ?? cell.code, decided: true, look: [] };
    });
    this.#take(changed);
    return this.#inTurn(async () => {
      const cells = Object.fromEntries(ids.map((id) => [id, this.cells.get(id).seen]));
      try {
        this.#receive(await this.#ask(this.urls.decide, { cells, code, reason }));
      } catch (problem) {
        this.#take(before.map((cell) => ({ ...cell, seen: this.cells.get(cell.id).seen })));
        this.#fail(problem, ids, code);
      }
    });
  }

  add(image, box, code) {
    return this.#inTurn(async () => {
      try {
        const answer = await this.#ask(this.urls.add.replace("/0/", `/${image}/`), { box, code });
        this.#receive(answer);
        this.select([answer.changed[0].id]);
      } catch (problem) {
        this.#fail(problem, [], code);
      }
    });
  }

  undo() {
    return this.#turnBack(this.urls.undo, "Undone");
  }

  redo() {
    return this.#turnBack(this.urls.redo, "Done again");
  }

  // Tell the server that this reader is here; take what others changed meanwhile.
  async present() {
    if (this.waiting) return null;
    const answer = await this.#ask(this.urls.presence, { since: this.lastDecision }, { "X-LeukoWeb-Poll": "1" });
    if (answer.changed) this.#receive(answer);
    return answer;
  }

  #turnBack(url, word) {
    return this.#inTurn(async () => {
      try {
        const answer = await this.#ask(url, {});
        if (answer.sentence) return this.#say("told", { sentence: answer.sentence });
        this.#receive(answer);
        const ids = answer.changed.map((cell) => cell.id);
        this.select(ids);
        return this.#say("told", { sentence: `${word}: ${ids.length === 1 ? "one cell" : `${ids.length} cells`}.` });
      } catch (problem) {
        return this.#fail(problem, [], null);
      }
    });
  }

  #inTurn(work) {
    this.waiting += 1;
    this.#say("busy");
    this.queue = this.queue.then(work).finally(() => {
      this.waiting -= 1;
      this.#say("busy");
    });
    return this.queue;
  }

  #receive(answer) {
    this.#noteLast(answer.changed);
    this.summary = answer.summary;
    this.#take(answer.changed);
    this.#say("summary");
  }

  #take(cells) {
    for (const cell of cells) this.cells.set(cell.id, cell);
    this.#say("changed", { ids: cells.map((cell) => cell.id) });
  }

  #noteLast(cells) {
    for (const cell of cells) this.lastDecision = Math.max(this.lastDecision, cell.seen);
  }

  #fail(problem, ids, code) {
    if (!(problem instanceof Refused)) throw problem;
    if (problem.cells) {
      this.#noteLast(problem.cells);
      this.#take(problem.cells);
      return this.#say("collided", { sentence: problem.message, cells: problem.cells, ids, code });
    }
    return this.#say("told", { sentence: problem.message, isRefusal: true });
  }

  async #ask(url, body, headers = {}) {
    const answer = await fetch(url, {
      method: body ? "POST" : "GET",
      headers: { Accept: "application/json", "X-CSRFToken": this.csrfToken, ...headers },
      body: body ? JSON.stringify(body) : undefined,
      credentials: "same-origin",
    }).catch(() => {
      throw new Refused("The server did not answer. Nothing was changed; try again.");
    });
    const isJson = answer.headers.get("Content-Type")?.includes("json");
    const content = isJson ? await answer.json() : {};
    if (answer.ok && isJson) return content;
    const refused = new Refused(
      content.detail ??
        (answer.status === 401 || answer.redirected
          ? "You were signed out. Load the page again and sign in."
          : "The server could not do that. Nothing was changed; load the page again."),
    );
    refused.cells = content.cells;
    throw refused;
  }

  #say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

// One element with properties and children; text only, never markup.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && name !== "role" && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function describe(cell, types) {
  const parts = [`${cell.code} ${types.get(cell.code)?.name ?? ""}`];
  if (cell.added) parts.push("added by a reader");
  else if (cell.score !== null) parts.push(`score ${cell.score.toFixed(2)}`);
  if (cell.said && cell.said !== cell.code) parts.push(`detector said ${cell.said}`);
  if (cell.decided) parts.push(cell.by ? `decided by ${cell.by}` : "decided");
  if (cell.look.length) parts.push(`must be looked at: ${cell.look.join(", ")}`);
  return parts.join(", ");
}
