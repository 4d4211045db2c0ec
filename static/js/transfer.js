// One file on its way to the server in pieces (tus), and its line on the page; it can be paused, resumed and refused.
// It does not know the other files.

import { csrfToken } from "./csrf.js";
import { digest, isReadable, size } from "./files.js";
import { byId } from "./page.js";
import { gettext, interpolate } from "./words.js";

/** @typedef {"waiting" | "sending" | "paused" | "broken" | "here" | "refused"} State */

const PENDING = ["waiting", "sending", "paused", "broken"];
const REFUSED_BY_STATUS = [400, 413, 415, 507];

const tabStorage = {
  async findAllUploads() {
    return [];
  },
  /** @param {string} fingerprint */
  async findUploadsByFingerprint(fingerprint) {
    const uploadUrl = sessionStorage.getItem(fingerprint);
    return uploadUrl ? [{ uploadUrl, size: null, metadata: {}, creationTime: "", urlStorageKey: fingerprint }] : [];
  },
  /** @param {string} key */
  async removeUpload(key) {
    sessionStorage.removeItem(key);
  },
  /**
   * @param {string} fingerprint
   * @param {{ uploadUrl: string }} upload
   */
  async addUpload(fingerprint, upload) {
    sessionStorage.setItem(fingerprint, upload.uploadUrl);
    return fingerprint;
  },
};

const underWay = new Set(); // addresses of uploads of this page: no two files go on with one of them

export class Transfer {
  /**
   * @param {File} file
   * @param {{ endpoint: string, case: number }} target
   * @param {(sentence: string) => void} onChange called whenever the state is another; the sentence is for a screen reader
   */
  constructor(file, target, onChange) {
    this.file = file;
    this.target = target;
    this.onChange = onChange;
    /** @type {State} */
    this.state = "waiting";
    /** @type {any} */
    this.upload = null;
    this.line = byId("file-row").content.firstElementChild.cloneNode(true);
    const part = (/** @type {string} */ name) => this.line.querySelector(name);
    this.bar = part("progress");
    this.sentence = part(".sentence");
    this.pauseButton = part(".pause");
    this.removeButton = part(".remove");
    part(".name").textContent = file.name;
    part(".size").textContent = size(file.size);
    this.bar.setAttribute("aria-label", interpolate(gettext("Progress of %(name)s"), { name: file.name }));
    this.removeButton.setAttribute("aria-label", interpolate(gettext("Remove %(name)s"), { name: file.name }));
    this.#namePause(gettext("Pause"));
    this.pauseButton.addEventListener("click", () => (["sending", "waiting"].includes(this.state) ? this.pause() : this.resume()));
  }

  get isPending() {
    return PENDING.includes(this.state);
  }

  /** The name that the server gave the upload. */
  get key() {
    return this.upload.url.replace(/\/$/, "").split("/").pop();
  }

  async begin() {
    this.state = "sending";
    if (this.upload) return this.upload.start();
    const { endpoint, case: number } = this.target;
    this.upload = new tus.Upload(this.file, {
      endpoint,
      headers: { Accept: "application/json" },
      onBeforeRequest: (/** @type {any} */ request) => request.setHeader("X-CSRFToken", csrfToken()),
      metadata: { filename: this.file.name },
      chunkSize: 16 * 2 ** 20,
      retryDelays: [0, 1000, 3000, 5000, 10000, 20000, 30000, 60000],
      urlStorage: tabStorage,
      fingerprint: async (/** @type {File} */ file) => `tus:${number}:${file.size}:${file.lastModified}:${await digest(file)}`,
      removeFingerprintOnSuccess: true,
      onProgress: (/** @type {number} */ sent, /** @type {number} */ total) => {
        this.bar.value = sent / total;
        this.sentence.textContent = interpolate(gettext("%(sent)s of %(total)s"), { sent: size(sent), total: size(total) });
      },
      onUploadUrlAvailable: () => underWay.add(this.upload.url),
      onSuccess: () => this.#arrived(),
      onError: (/** @type {any} */ error) => this.#broke(error),
    });
    const found = await this.upload.findPreviousUploads();
    const earlier = found.find((/** @type {any} */ one) => !underWay.has(one.uploadUrl)); // of an equal file beside it
    if (earlier) {
      underWay.add(earlier.uploadUrl);
      this.upload.resumeFromPreviousUpload(earlier);
    }
    if (this.state === "sending") this.upload.start();
  }

  async pause() {
    this.state = "paused";
    this.#namePause(gettext("Resume"));
    await this.upload?.abort();
    this.sentence.textContent = interpolate(gettext("Paused at %(percent)s%."), { percent: Math.round(this.bar.value * 100) });
    this.onChange("");
  }

  resume() {
    this.state = "waiting";
    this.#namePause(gettext("Pause"));
    this.sentence.textContent = "Waiting.";
    this.onChange("");
  }

  /** Forget the file, also on the server. */
  drop() {
    this.line.remove();
    if (this.upload && this.state !== "refused") this.upload.abort(true).catch(() => {});
  }

  /** @param {string} sentence */
  refuse(sentence) {
    this.state = "refused";
    this.line.classList.remove("is-here");
    this.line.classList.add("is-refused");
    this.sentence.textContent = sentence;
    this.bar.hidden = this.pauseButton.hidden = true;
    this.onChange(`${this.file.name}: ${sentence}`);
  }

  /**
   * Say why an upload that is here became no image yet.
   * @param {string} sentence
   */
  wait(sentence) {
    this.sentence.textContent = sentence;
    return this;
  }

  #arrived() {
    this.state = "here";
    this.bar.value = 1;
    this.line.classList.add("is-here");
    this.sentence.textContent = gettext("Uploaded, ready to submit.");
    this.pauseButton.hidden = true;
    this.onChange("");
  }

  /** @param {any} error of tus */
  async #broke(error) {
    const answer = error.originalResponse;
    const status = answer ? answer.getStatus() : 0;
    if (REFUSED_BY_STATUS.includes(status)) return this.refuse(answer.getBody() || gettext("The server refused this file."));
    if (!answer && !(await isReadable(this.file))) {
      this.upload.abort(true).catch(() => {});
      return this.refuse(gettext("The file was changed, moved or removed while it was sent: choose it again."));
    }
    this.state = "broken";
    this.#namePause(gettext("Resume"));
    this.sentence.textContent =
      status === 401 || status === 403
        ? gettext("You were signed out: sign in again in another tab, then select Resume.")
        : gettext("Connection lost. Your upload is safe; select Resume when you are back online.");
    this.onChange(interpolate(gettext("%(name)s: connection lost."), { name: this.file.name }));
  }

  /** @param {string} word */
  #namePause(word) {
    this.pauseButton.textContent = word;
    this.pauseButton.setAttribute("aria-label", `${word} ${this.file.name}`);
  }
}
