// The upload page of a slide: sends each chosen file in pieces (tus), then asks the server to make them one slide.
// Four files travel at once; the server checks them when the slide is made. Without this script the form works as it is.

import { csrfToken } from "./csrf.js";

const page = JSON.parse(document.getElementById("page-settings").textContent);
const form = document.getElementById("upload-form");
const AT_ONCE = 4;
const PENDING = ["waiting", "sending", "paused", "broken"];

if (form && window.tus?.isSupported) start();

function start() {
  const drop = document.getElementById("drop");
  const input = document.getElementById("images");
  const list = document.getElementById("files");
  const send = document.getElementById("send");
  const problem = document.getElementById("problem");
  const rows = new Set();
  drop.classList.add("is-live");

  input.addEventListener("change", take);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => over(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => over(event, false));
  drop.addEventListener("drop", (event) => {
    // A folder comes as a file that cannot be read: it is told apart while the event lasts.
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    add(event.dataTransfer.files, items.map((item) => Boolean(item.webkitGetAsEntry?.()?.isDirectory)));
  });
  // A file dropped beside the box must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  window.addEventListener("online", () => rows.forEach((row) => row.state === "broken" && resume(row)));
  window.addEventListener("beforeunload", (event) => {
    if ([...rows].some((row) => PENDING.includes(row.state))) event.preventDefault();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    finish();
  });

  queueMicrotask(() => input.files.length && take()); // chosen before this script ran

  function take() {
    add(input.files);
    input.value = "";
  }

  function over(event, isOver) {
    event.preventDefault();
    drop.classList.toggle("is-over", isOver);
  }

  function add(files, areFolders = []) {
    show("");
    const room = page.max_files - [...rows].filter((row) => row.state !== "refused").length;
    if (files.length > room) {
      return show(`${files.length} files were chosen and a slide takes at most ${page.max_files}: choose fewer and upload the others as another slide. Nothing was added.`);
    }
    [...files].forEach((file, number) => {
      const row = { file, state: "waiting", ...drawn(file) };
      rows.add(row);
      row.pause.addEventListener("click", () => (["sending", "waiting"].includes(row.state) ? pause(row) : resume(row)));
      row.remove.addEventListener("click", () => remove(row));
      if (areFolders[number]) refuse(row, "This is a folder: open it and choose the pictures inside.");
      else if (file.size > page.max_bytes) refuse(row, `The file is larger than the limit of ${size(page.max_bytes)}.`);
      else if (file.size === 0) refuse(row, "The file is empty: copy it again from the microscope.");
    });
    say(`${files.length} file${files.length === 1 ? "" : "s"} chosen.`);
    pump();
  }

  // Start waiting files while fewer than AT_ONCE travel, and say how far all of them are.
  function pump() {
    const all = [...rows];
    let free = AT_ONCE - all.filter((row) => row.state === "sending").length;
    for (const row of all) {
      if (free <= 0) break;
      if (row.state !== "waiting") continue;
      row.state = "sending";
      begin(row);
      free -= 1;
    }
    const wanted = all.filter((row) => row.state !== "refused");
    const ready = wanted.filter((row) => row.state === "here");
    document.getElementById("total").textContent = all.length ? `${ready.length} of ${wanted.length} files uploaded.` : "";
  }

  function drawn(file) {
    const item = document.getElementById("file-row").content.firstElementChild.cloneNode(true);
    const part = (name) => item.querySelector(name);
    part(".name").textContent = file.name;
    part(".size").textContent = size(file.size);
    part("progress").setAttribute("aria-label", `Progress of ${file.name}`);
    part(".pause").setAttribute("aria-label", `Pause ${file.name}`);
    part(".remove").setAttribute("aria-label", `Remove ${file.name}`);
    list.append(item);
    return { item, bar: part("progress"), sentence: part(".sentence"), pause: part(".pause"), remove: part(".remove") };
  }

  async function begin(row) {
    if (row.upload) return row.upload.start();
    row.upload = new tus.Upload(row.file, {
      endpoint: page.endpoint,
      headers: { Accept: "application/json" },
      onBeforeRequest: (request) => request.setHeader("X-CSRFToken", csrfToken()),
      metadata: { filename: row.file.name },
      chunkSize: 16 * 2 ** 20,
      retryDelays: [0, 1000, 3000, 5000, 10000, 20000, 30000, 60000],
      urlStorage: tabStorage,
      fingerprint: async (file) => `tus:${page.case}:${file.size}:${file.lastModified}:${await digest(file.name)}`,
      removeFingerprintOnSuccess: true,
      onProgress: (sent, total) => {
        row.bar.value = sent / total;
        row.sentence.textContent = `${size(sent)} of ${size(total)}`;
      },
      onSuccess: () => here(row),
      onError: (error) => broke(row, error),
    });
    const [earlier] = await row.upload.findPreviousUploads();
    if (earlier) row.upload.resumeFromPreviousUpload(earlier);
    if (row.state === "sending") row.upload.start();
  }

  function here(row) {
    row.state = "here";
    row.bar.value = 1;
    row.item.classList.add("is-here");
    row.sentence.textContent = "Uploaded, ready to submit.";
    row.pause.hidden = true;
    pump();
    proceed();
  }

  async function broke(row, error) {
    const answer = error.originalResponse;
    const status = answer ? answer.getStatus() : 0;
    const body = answer ? answer.getBody() : "";
    if ([400, 413, 415, 507].includes(status)) return refuse(row, body || "The server refused this file.");
    if (!answer && !(await isReadable(row.file))) {
      row.upload.abort(true).catch(() => {});
      return refuse(row, "The file was changed, moved or removed while it was sent: choose it again.");
    }
    row.state = "broken";
    row.pause.textContent = "Resume";
    row.pause.setAttribute("aria-label", `Resume ${row.file.name}`);
    row.sentence.textContent =
      status === 401 || status === 403
        ? "You were signed out: sign in again in another tab, then select Resume."
        : "Connection lost. Your upload is safe; select Resume when you are back online.";
    say(`${row.file.name}: connection lost.`);
    pump();
    unlock();
  }

  async function pause(row) {
    row.state = "paused";
    row.pause.textContent = "Resume";
    row.pause.setAttribute("aria-label", `Resume ${row.file.name}`);
    await row.upload?.abort();
    row.sentence.textContent = `Paused at ${Math.round(row.bar.value * 100)} %.`;
    pump();
  }

  function resume(row) {
    row.state = "waiting";
    row.pause.textContent = "Pause";
    row.pause.setAttribute("aria-label", `Pause ${row.file.name}`);
    row.sentence.textContent = "Waiting.";
    pump();
  }

  function remove(row) {
    rows.delete(row);
    row.item.remove();
    if (row.upload && row.state !== "refused") row.upload.abort(true).catch(() => {});
    pump();
    input.focus();
  }

  function refuse(row, sentence) {
    row.state = "refused";
    row.item.classList.remove("is-here");
    row.item.classList.add("is-refused");
    row.sentence.textContent = sentence;
    row.bar.hidden = row.pause.hidden = true;
    say(`${row.file.name}: ${sentence}`);
    pump();
    proceed();
  }

  // Send the form when every file is here; called again whenever a file ends.
  let isAsked = false;

  function finish() {
    const waiting = [...rows].filter((row) => row.state !== "refused");
    if (!waiting.length) return show("Choose the pictures of one slide first.");
    isAsked = true;
    send.disabled = true;
    proceed();
  }

  function unlock() {
    isAsked = false;
    send.disabled = false;
  }

  async function proceed() {
    if (!isAsked || [...rows].some((row) => PENDING.includes(row.state))) return;
    const ready = [...rows].filter((row) => row.state === "here");
    if (!ready.length) return unlock();
    isAsked = false;
    document.getElementById("total").textContent = `Checking ${ready.length} files.`;
    const fields = new FormData(form);
    fields.set("csrfmiddlewaretoken", csrfToken());
    fields.delete("images");
    fields.set("uploads", ready.map((row) => row.upload.url.replace(/\/$/, "").split("/").pop()).join(" "));
    try {
      let answer = await sent(fields);
      while (answer.status === 202) {
        const part = await answer.json();
        document.getElementById("total").textContent = `${part.checked} of ${part.of} files checked.`;
        answer = await sent(fields);
      }
      if (!answer.headers.get("Content-Type")?.includes("json")) throw new Error(`status ${answer.status}`);
      settle(await answer.json(), ready);
    } catch {
      show("The server did not answer. Your files are safe: press “Upload the slide” again.");
      unlock();
    }
  }

  function sent(fields) {
    return fetch(form.action, { method: "POST", body: fields, headers: { Accept: "application/json" } });
  }

  function settle(answer, ready) {
    const total = rows.size; // also the files that were refused before: the page stays, so that their sentences are read
    if (answer.slide && answer.stored === total) {
      location.assign(answer.slide);
      return;
    }
    unlock();
    const wrong = Object.values(answer.fields);
    if (wrong.length || answer.problem) return show([answer.problem, ...wrong].filter(Boolean).join(" "));
    // Two files may have one name: the server says by position which one it means.
    for (const one of answer.errors) refuse(ready[one.position], one.error);
    for (const row of ready) {
      if (row.state === "refused") continue;
      rows.delete(row);
      row.item.remove();
    }
    pump();
    show(
      answer.slide
        ? `Slide created: ${answer.stored} of ${total} images stored, ${total - answer.stored} not accepted.`
        : "No files were accepted.",
      answer.slide,
    );
  }

  function show(sentence, address) {
    problem.classList.toggle("d-none", !sentence);
    problem.classList.toggle("alert-danger", !address);
    problem.classList.toggle("alert-warning", Boolean(address));
    problem.replaceChildren(sentence);
    if (address) {
      const link = document.createElement("a");
      link.href = address;
      link.className = "alert-link";
      link.textContent = "Go to the slide";
      problem.append(" ", link);
      link.focus();
    }
  }

  function say(sentence) {
    document.getElementById("status").textContent = sentence;
  }
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  const mib = bytes / 2 ** 20;
  return mib < 1 ? `${Math.round(bytes / 1024)} KiB` : `${mib < 10 ? mib.toFixed(1) : Math.round(mib)} MiB`;
}

async function isReadable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

// A file's name may be a patient's: only its hash is kept by the browser, and only until the tab is closed.
async function digest(text) {
  const bytes = new TextEncoder().encode(text);
  if (!crypto.subtle) return bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7).toString(16);
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16)).join("");
}

const tabStorage = {
  async findAllUploads() {
    return [];
  },
  async findUploadsByFingerprint(fingerprint) {
    const uploadUrl = sessionStorage.getItem(fingerprint);
    return uploadUrl ? [{ uploadUrl, size: null, metadata: {}, creationTime: "", urlStorageKey: fingerprint }] : [];
  },
  async removeUpload(key) {
    sessionStorage.removeItem(key);
  },
  async addUpload(fingerprint, upload) {
    sessionStorage.setItem(fingerprint, upload.uploadUrl);
    return fingerprint;
  },
};
