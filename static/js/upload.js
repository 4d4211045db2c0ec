// The upload page of a slide: sends each chosen file in pieces, then asks the server to make them one slide.
// Four files travel at once; the server checks them when the slide is made. Without this script the form works as it is.

import { csrfToken } from "./csrf.js";
import { problemOf } from "./files.js";
import { byId, make, readJson } from "./page.js";
import { Transfer } from "./transfer.js";
import { gettext, interpolate, ngettext } from "./words.js";

const AT_ONCE = 4;

class UploadPage {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.settings = readJson("page-settings");
    /** @type {HTMLInputElement} */
    this.input = byId("images");
    /** @type {Set<Transfer>} */
    this.rows = new Set();
    this.isAsked = false; // the slide is made as soon as every file is here
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.finish();
    });
    this.input.addEventListener("change", () => this.take());
    this.listenToDrops(byId("drop"));
    addEventListener("online", () => this.rows.forEach((row) => row.state === "broken" && row.resume()));
    addEventListener("beforeunload", (event) => {
      if ([...this.rows].some((row) => row.isPending)) event.preventDefault();
    });
    queueMicrotask(() => this.input.files?.length && this.take()); // chosen before this script ran
  }

  /** @param {HTMLElement} drop */
  listenToDrops(drop) {
    drop.classList.add("is-live");
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("is-over", name === "dragenter" || name === "dragover");
      });
    }
    drop.addEventListener("drop", ({ dataTransfer }) => {
      if (!dataTransfer) return;
      // A folder comes as a file that cannot be read: it is told apart while the event lasts.
      const items = [...dataTransfer.items].filter((item) => item.kind === "file");
      this.add(dataTransfer.files, items.map((item) => Boolean(item.webkitGetAsEntry?.()?.isDirectory)));
    });
    // A file dropped beside the box must not replace the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  }

  take() {
    this.add(this.input.files ?? []);
    this.input.value = "";
  }

  /**
   * @param {Iterable<File>} chosen
   * @param {boolean[]} areFolders
   */
  add(chosen, areFolders = []) {
    const files = [...chosen];
    this.show("");
    const { max_files: most, max_bytes: maxBytes, endpoint, case: number } = this.settings;
    if (files.length > most - this.wanted().length) {
      this.show(interpolate(gettext("%(count)s files were chosen and a slide takes at most %(most)s: choose fewer and upload the others as another slide. Nothing was added."), { count: files.length, most }));
      return;
    }
    files.forEach((file, place) => {
      const row = new Transfer(file, { endpoint, case: number }, (sentence) => this.changed(sentence));
      this.rows.add(row);
      byId("files").append(row.line);
      row.removeButton.addEventListener("click", () => this.remove(row));
      const problem = problemOf(file, areFolders[place] ?? false, maxBytes);
      if (problem) row.refuse(problem);
    });
    this.say(interpolate(ngettext("%(count)s file chosen.", "%(count)s files chosen.", files.length), { count: files.length }));
    this.pump();
  }

  /** The files that were not refused. */
  wanted() {
    return [...this.rows].filter((row) => row.state !== "refused");
  }

  arrived() {
    return [...this.rows].filter((row) => row.state === "here");
  }

  /** @param {string} sentence */
  changed(sentence) {
    if (sentence) this.say(sentence);
    this.pump();
    if ([...this.rows].some((row) => row.state === "broken")) this.unlock();
    this.proceed();
  }

  /** Start waiting files while fewer than AT_ONCE travel, and say how far all of them are. */
  pump() {
    let free = AT_ONCE - [...this.rows].filter((row) => row.state === "sending").length;
    for (const row of this.rows) {
      if (free <= 0) break;
      if (row.state !== "waiting") continue;
      row.begin();
      free -= 1;
    }
    this.total(this.rows.size ? interpolate(gettext("%(arrived)s of %(wanted)s files uploaded."), { arrived: this.arrived().length, wanted: this.wanted().length }) : "");
  }

  /** @param {Transfer} row */
  remove(row) {
    this.rows.delete(row);
    row.drop();
    this.pump();
    this.input.focus();
  }

  finish() {
    if (!this.wanted().length) return this.show(gettext("Choose the pictures of one slide first."));
    this.isAsked = true;
    byId("send").disabled = true;
    this.proceed();
  }

  unlock() {
    this.isAsked = false;
    byId("send").disabled = false;
  }

  /** Send the form when every file is here; called again whenever a file ends. */
  async proceed() {
    if (!this.isAsked || [...this.rows].some((row) => row.isPending)) return;
    const ready = this.arrived();
    if (!ready.length) return this.unlock();
    this.isAsked = false;
    this.total(interpolate(gettext("Checking %(count)s files."), { count: ready.length }));
    const fields = new FormData(this.form);
    fields.set("csrfmiddlewaretoken", csrfToken());
    fields.delete("images");
    fields.set("uploads", ready.map((row) => row.key).join(" "));
    try {
      let answer = await this.send(fields);
      while (answer.status === 202) {
        const part = await answer.json();
        this.total(interpolate(gettext("%(checked)s of %(of)s files checked."), { checked: part.checked, of: part.of }));
        answer = await this.send(fields);
      }
      if (!answer.headers.get("Content-Type")?.includes("json")) throw new Error(`status ${answer.status}`);
      const told = await answer.json();
      if (answer.ok) return this.settle(told, ready);
      this.show(interpolate(gettext("%(detail)s Your files are kept: press “Upload the slide” again."), { detail: told.detail }));
      this.unlock();
    } catch {
      this.show(gettext("The server did not answer. Your files are safe: press “Upload the slide” again."));
      this.unlock();
    }
  }

  /** @param {FormData} fields */
  send(fields) {
    return fetch(this.form.action, { method: "POST", body: fields, headers: { Accept: "application/json" } });
  }

  /**
   * @param {any} answer
   * @param {Transfer[]} ready
   */
  settle(answer, ready) {
    const total = this.rows.size; // also the files that were refused before: the page stays, so that their sentences are read
    if (answer.slide && answer.stored === total) {
      location.assign(answer.slide);
      return;
    }
    this.unlock();
    const wrong = Object.values(answer.fields);
    if (wrong.length || answer.problem) return this.show([answer.problem, ...wrong].filter(Boolean).join(" "));
    // Two files may have one name: the server says by position which one it means.
    const kept = new Set();
    for (const one of answer.errors) {
      const row = ready[one.position];
      if (one.kept) kept.add(row.wait(one.error));
      else row.refuse(one.error);
    }
    for (const row of ready) {
      if (row.state === "refused" || kept.has(row)) continue;
      this.rows.delete(row);
      row.line.remove();
    }
    this.pump();
    if (!answer.slide) return this.show(gettext("No files were accepted."));
    this.show(interpolate(gettext("Slide created: %(stored)s of %(total)s images stored, %(refused)s not accepted."), { stored: answer.stored, total, refused: total - answer.stored }), answer.slide);
  }

  /**
   * @param {string} sentence
   * @param {string} address of the slide that was made in spite of it
   */
  show(sentence, address = "") {
    const problem = byId("problem");
    problem.classList.toggle("d-none", !sentence);
    problem.classList.toggle("alert-danger", !address);
    problem.classList.toggle("alert-warning", Boolean(address));
    problem.replaceChildren(sentence);
    if (!address) return;
    const link = make("a", { href: address, className: "alert-link" }, gettext("Go to the slide"));
    problem.append(" ", link);
    link.focus();
  }

  /** @param {string} sentence */
  total(sentence) {
    byId("total").textContent = sentence;
  }

  /** @param {string} sentence */
  say(sentence) {
    byId("status").textContent = sentence;
  }
}

const form = document.getElementById("upload-form");
if (form instanceof HTMLFormElement && window.tus?.isSupported) new UploadPage(form);
