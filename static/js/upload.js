// The upload page of a slide: sends each chosen file in pieces (tus), then asks the server to make them one slide.
// It knows files and progress; what a file must be is said by the server, and without this script the form works as it is.

const page = JSON.parse(document.getElementById("page-settings").textContent);
const form = document.getElementById("upload-form");

if (form && window.tus?.isSupported) start();

function start() {
  const drop = document.getElementById("drop");
  const input = document.getElementById("images");
  const list = document.getElementById("files");
  const send = document.getElementById("send");
  const problem = document.getElementById("problem");
  const csrf = form.elements.csrfmiddlewaretoken.value;
  const rows = new Set();
  drop.classList.add("is-live");

  input.addEventListener("change", take);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => over(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => over(event, false));
  drop.addEventListener("drop", (event) => add(event.dataTransfer.files));
  // A file dropped beside the box must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  window.addEventListener("online", () => rows.forEach((row) => row.state === "broken" && resume(row)));
  window.addEventListener("beforeunload", (event) => {
    if ([...rows].some((row) => row.state === "sending")) event.preventDefault();
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

  function add(files) {
    show("");
    for (const file of files) {
      const row = { file, state: "sending", ...drawn(file) };
      rows.add(row);
      row.pause.addEventListener("click", () => (row.state === "sending" ? pause(row) : resume(row)));
      row.remove.addEventListener("click", () => remove(row));
      if (file.size > page.max_bytes) refuse(row, `The file is larger than the limit of ${size(page.max_bytes)}.`);
      else if (file.size === 0) refuse(row, "The file is empty: copy it again from the microscope.");
      else begin(row);
    }
    say(`${files.length} file${files.length === 1 ? "" : "s"} chosen.`);
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
    row.upload = new tus.Upload(row.file, {
      endpoint: page.endpoint,
      headers: { "X-CSRFToken": csrf, Accept: "application/json" },
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
    row.sentence.textContent = "Here. It is checked when you upload the slide.";
    row.pause.hidden = true;
    proceed();
  }

  function broke(row, error) {
    const answer = error.originalResponse;
    const status = answer ? answer.getStatus() : 0;
    const body = answer ? answer.getBody() : "";
    if ([400, 413, 415, 507].includes(status)) return refuse(row, body || "The server refused this file.");
    row.state = "broken";
    row.pause.textContent = "Go on";
    row.pause.setAttribute("aria-label", `Go on with ${row.file.name}`);
    row.sentence.textContent =
      status === 401 || status === 403
        ? "You were signed out: sign in again in another tab, then press “Go on”."
        : "The line is interrupted. Nothing is lost: press “Go on” when it is back.";
    say(`${row.file.name}: the line is interrupted.`);
    unlock();
  }

  async function pause(row) {
    row.state = "paused";
    row.pause.textContent = "Go on";
    row.pause.setAttribute("aria-label", `Go on with ${row.file.name}`);
    await row.upload?.abort();
    row.sentence.textContent = `Paused at ${Math.round(row.bar.value * 100)} %.`;
  }

  function resume(row) {
    row.state = "sending";
    row.pause.textContent = "Pause";
    row.pause.setAttribute("aria-label", `Pause ${row.file.name}`);
    row.upload.start();
  }

  function remove(row) {
    rows.delete(row);
    row.item.remove();
    if (row.upload && row.state !== "refused") row.upload.abort(true).catch(() => {});
    input.focus();
  }

  function refuse(row, sentence) {
    row.state = "refused";
    row.item.classList.remove("is-here");
    row.item.classList.add("is-refused");
    row.sentence.textContent = sentence;
    row.bar.hidden = row.pause.hidden = true;
    say(`${row.file.name}: ${sentence}`);
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
    if (!isAsked || [...rows].some((row) => ["sending", "paused", "broken"].includes(row.state))) return;
    const ready = [...rows].filter((row) => row.state === "here");
    if (!ready.length) return unlock();
    isAsked = false;
    for (const row of ready) row.sentence.textContent = "The server is checking this picture.";
    const fields = new FormData(form);
    fields.delete("images");
    fields.set("uploads", ready.map((row) => row.upload.url.replace(/\/$/, "").split("/").pop()).join(" "));
    try {
      const answer = await fetch(form.action, { method: "POST", body: fields, headers: { Accept: "application/json" } });
      if (!answer.headers.get("Content-Type")?.includes("json")) throw new Error(`status ${answer.status}`);
      settle(await answer.json(), ready);
    } catch {
      for (const row of ready) row.sentence.textContent = "Here.";
      show("The server did not answer: your files are kept there. Press “Upload the slide” again.");
      unlock();
    }
  }

  function settle(answer, ready) {
    if (answer.slide && !answer.errors.length) {
      location.assign(answer.slide);
      return;
    }
    unlock();
    const wrong = Object.values(answer.fields);
    if (wrong.length || answer.problem) {
      for (const row of ready) row.sentence.textContent = "Here.";
      return show([answer.problem, ...wrong].filter(Boolean).join(" "));
    }
    const open = new Set(ready);
    const unmatched = [];
    for (const one of answer.errors) {
      const row = [...open].find((candidate) => candidate.file.name === one.name);
      if (row) {
        open.delete(row);
        refuse(row, one.error);
      } else unmatched.push(`${one.name}: ${one.error}`);
    }
    for (const row of open) {
      rows.delete(row);
      row.item.remove();
    }
    show(answer.slide ? "The slide is uploaded, but not with every file." : "None of the files was taken.", answer.slide, unmatched);
  }

  function show(sentence, address, more = []) {
    problem.classList.toggle("d-none", !sentence);
    problem.classList.toggle("alert-danger", !address);
    problem.classList.toggle("alert-warning", Boolean(address));
    problem.replaceChildren(sentence);
    for (const line of more) problem.append(document.createElement("br"), line);
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
