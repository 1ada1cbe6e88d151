import {Compare} from "./compare.js";
import {receiveFiles} from "./files.js";

const $ = (id) => document.getElementById(id);
const UPLOADS = 1;  // at a time, which keeps their order
const SOON = 400, LATER = 3000;  // milliseconds between two looks at the queue
const ICONS = {
  download: "M12 4v11m0 0-4-4m4 4 4-4M5 20h14",
  cancel: "M6 6l12 12M18 6 6 18",
  remove: "M5 7h14M10 7V5h4v2m-7 0 1 12h8l1-12",
};

let info = null;
let jobs = [];        // as the server describes them
const uploads = [];   // {key, file, state: "waiting" | "sending" | "failed", sent, error, request, options}
let shown = null;     // the id of the job in the viewer
let timer = 0;
const rows = new Map();
const link = Object.assign(document.createElement("a"), {className: "button primary", textContent: "Download"});
const compare = new Compare($("compare"), link);
link.download = "";

// ---------------------------------------------------------------- requests

async function call(address, method = "GET") {
  const response = await fetch(address, {method});
  if (response.status === 204) return null;
  const found = await response.json().catch(() => ({error: `the server responded with ${response.status}`}));
  if (!response.ok) throw new Error(found.error);
  return found;
}

async function look() {
  clearTimeout(timer);
  try {
    jobs = (await call("api/jobs")).jobs;
    $("status").classList.remove("bad");
    draw();
  } catch (error) {
    $("status").textContent = "No connection to the server";
    $("status").classList.add("bad");
  }
  const active = uploads.length > 0 || jobs.some((job) => job.state === "queued" || job.state === "running");
  clearTimeout(timer);
  timer = setTimeout(look, active ? SOON : LATER);
}

function add(files) {
  const options = {model: document.querySelector("#models :checked")?.value ?? "auto", format: $("format").value};
  for (const file of files) {
    const upload = {key: crypto.randomUUID?.() ?? String(Math.random()), file, state: "waiting", sent: 0, options};
    if (file.size > info.limits.megabytes * 1e6) {
      Object.assign(upload, {state: "failed", error: `larger than the limit of ${info.limits.megabytes} MB`});
    }
    uploads.push(upload);
  }
  send();
  draw();
}

function send() {
  const sending = uploads.filter((upload) => upload.state === "sending").length;
  for (const upload of uploads.filter((upload) => upload.state === "waiting").slice(0, UPLOADS - sending)) start(upload);
}

function start(upload) {
  const request = new XMLHttpRequest();  // fetch does not report how much was sent
  const query = new URLSearchParams({name: upload.file.name, model: upload.options.model});
  if (upload.options.format) query.set("format", upload.options.format);
  Object.assign(upload, {state: "sending", request});
  request.upload.onprogress = (event) => { upload.sent = event.loaded / event.total; draw(); };
  request.onloadend = () => {
    let found = {};
    try { found = JSON.parse(request.responseText); } catch { /* no response */ }
    if (request.status === 201) {
      uploads.splice(uploads.indexOf(upload), 1);
      jobs.push(...found.jobs);
    } else if (uploads.includes(upload)) {
      Object.assign(upload, {state: "failed", error: found.error ?? "the upload was interrupted"});
    }
    send();
    draw();
    look();
  };
  request.open("POST", `api/jobs?${query}`);
  request.send(upload.file);
}

// ---------------------------------------------------------------- the queue

function draw() {
  const items = [
    ...jobs.map((job) => ({key: job.id, name: job.name, job})),
    ...uploads.map((upload) => ({key: upload.key, name: upload.file.name, upload})),
  ];
  const keys = new Set(items.map((item) => item.key));
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    if (row.contains(document.activeElement)) (next?.querySelector("button:not(:disabled), a") ?? $("files")).focus();
    row.remove();
    rows.delete(key);
  }
  let after = null;
  for (const item of items) {
    const row = rows.get(item.key) ?? newRow(item.key);
    if ((after ? after.nextElementSibling : $("jobs").firstElementChild) !== row) {
      after ? after.after(row) : $("jobs").prepend(row);
    }
    after = row;
    item.job ? drawJob(row, item.job) : drawUpload(row, item.upload);
  }
  $("empty").hidden = items.length > 0;
  drawSummary();
  drawViewer();
}

function newRow(key) {
  const row = document.createElement("li");
  row.innerHTML = `<button type="button" class="open"><span class="thumb"><img alt="" hidden></span>
    <span><span class="name"></span><span class="state small soft numbers"></span>
    <span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"><i></i></span></span></button>
    <span class="actions"></span>`;
  const part = (selector) => row.querySelector(selector);
  row.parts = {open: part(".open"), thumb: part(".thumb img"), name: part(".name"), state: part(".state"), bar: part(".bar"),
               fill: part(".bar i"), actions: part(".actions")};
  rows.set(key, row);
  return row;
}

function set(row, {name, state, text, bad = false, share = null, open = null}) {
  const {parts} = row;
  row.className = `${state}${row.key === shown ? " shown" : ""}`;
  if (parts.name.textContent !== name) parts.name.textContent = parts.name.title = name;
  if (parts.state.textContent !== text) parts.state.textContent = text;
  parts.state.classList.toggle("bad", bad);
  parts.state.classList.toggle("soft", !bad);
  parts.bar.hidden = share === null;
  parts.fill.style.width = share ? `${100 * share}%` : "";
  parts.fill.classList.toggle("unknown", share === 0);
  parts.bar.setAttribute("aria-label", `Progress of ${name}`);
  parts.bar.setAttribute("aria-valuenow", Math.round(100 * (share ?? 0)));
  parts.open.disabled = !open;
  parts.open.onclick = open;
}

function actions(row, wanted) {
  const now = wanted.map(({kind, label}) => kind + label).join();
  if (row.actionsNow === now) return;
  const focused = row.parts.actions.contains(document.activeElement);
  row.actionsNow = now;
  row.parts.actions.replaceChildren(...wanted.map(({kind, label, href, act}) => {
    const element = document.createElement(href ? "a" : "button");
    element.className = "button plain icon";
    element.setAttribute("aria-label", label);
    element.title = label;
    if (href) Object.assign(element, {href, download: ""});
    else Object.assign(element, {type: "button", onclick: act});
    element.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[kind]}"/></svg>`;
    return element;
  }));
  if (focused) row.parts.actions.querySelector("a, button")?.focus();
}

function drawUpload(row, upload) {
  const name = upload.file.name, failed = upload.state === "failed";
  const text = failed ? reason(upload.error, name) : upload.state === "waiting" ? "Waiting to be sent" : `Sending, ${percent(upload.sent)}`;
  set(row, {name, state: upload.state, text, bad: failed, share: failed ? null : upload.sent || null});
  const drop = () => {
    uploads.splice(uploads.indexOf(upload), 1);
    upload.request?.abort();
    send();
    draw();
  };
  actions(row, [{kind: failed ? "remove" : "cancel", label: `${failed ? "Remove" : "Cancel"} ${name}`, act: drop}]);
}

function drawJob(row, job) {
  row.key = job.id;
  const active = job.state === "queued" || job.state === "running";
  const text = {
    queued: () => `Waiting, ${ordinal(jobs.filter((other) => other.state === "queued").indexOf(job) + 1)} in line`,
    running: () => job.progress ? `Upscaling, ${percent(job.progress)}` : "Upscaling",
    done: () => `${size(job.size)} \u2192 ${size(job.upscaled_size)}, ${seconds(job.seconds)}`,
    failed: () => reason(job.error ?? "Failed", job.name),
    cancelled: () => "Cancelled",
  }[job.state]();
  set(row, {
    name: job.name, state: job.state, text: job.notes.length ? `${text}. ${job.notes.join(". ")}` : text, bad: job.state === "failed",
    share: job.state === "running" ? job.progress : null, open: job.state === "done" ? () => select(job.id, true) : null,
  });
  row.parts.open.toggleAttribute("aria-current", job.id === shown);
  const {thumb} = row.parts;
  if (!thumb.getAttribute("src") && (job.state === "done" || job.progress > 0)) {
    thumb.src = `api/jobs/${job.id}/thumbnail`;
    thumb.hidden = false;
  }
  const does = (method, path = "") => async () => {
    try { await call(`api/jobs/${job.id}${path}`, method); } catch (error) { warn(error.message); }
    look();
  };
  const result = {kind: "download", label: `Download ${job.result_name}`, href: `api/jobs/${job.id}/result`};
  const cancel = {kind: "cancel", label: `Cancel ${job.name}`, act: does("POST", "/cancel")};
  const remove = {kind: "remove", label: `Remove ${job.name}`, act: does("DELETE")};
  actions(row, active ? [cancel] : job.state === "done" ? [result, remove] : [remove]);
}

function drawSummary() {
  const count = (...states) => jobs.filter((job) => states.includes(job.state)).length;
  const rejected = uploads.filter((upload) => upload.state === "failed").length;
  const waiting = count("queued") + uploads.length - rejected;
  const failed = count("failed") + rejected;
  const parts = [[count("running"), "running"], [waiting, "waiting"], [count("done"), "done"], [failed, "failed"]];
  const text = parts.filter(([number]) => number).map(([number, state]) => `${number} ${state}`).join(", ") || "Ready";
  if ($("status").textContent !== text) $("status").textContent = text;
  document.title = waiting + count("running") ? `${count("done")} of ${jobs.length} - srkd` : "Upscale images - srkd";
  $("all").hidden = count("done") < 2;
  $("all").textContent = `Download all ${count("done")}`;
  $("clear").hidden = count("done", "cancelled") + failed === 0;
}

// ---------------------------------------------------------------- the viewer

function select(id, byHand) {
  shown = id;
  draw();
  if (byHand && matchMedia("(max-width: 52rem)").matches) $("viewer").scrollIntoView({behavior: "smooth", block: "start"});
}

function drawViewer() {
  const done = jobs.filter((job) => job.state === "done");
  if (!done.some((job) => job.id === shown)) shown = done.at(-1)?.id ?? null;
  const job = done.find((job) => job.id === shown);
  $("compare").hidden = !job;
  $("nothing").hidden = Boolean(job);
  if (!job) return;
  rows.get(job.id)?.classList.add("shown");
  link.href = `api/jobs/${job.id}/result`;
  link.setAttribute("aria-label", `Download ${job.result_name}`);
  const [width, height] = job.upscaled_size;
  const about = `${size(job.size)} \u2192 ${size(job.upscaled_size)}, ${job.model}, ${job.backend}, ${seconds(job.seconds)}`;
  compare.show({name: job.name, about, before: `api/jobs/${job.id}/before`, after: `api/jobs/${job.id}/after`, width, height});
}

// ---------------------------------------------------------------- words

const reason = (error, name) => {  // the name stands above it
  const text = error.startsWith(`${name}: `) ? error.slice(name.length + 2) : error;
  return text[0].toUpperCase() + text.slice(1);
};
const percent = (share) => `${Math.round(100 * share)} %`;
const size = ([width, height]) => `${width}\u00d7${height}`;
const seconds = (value) => value === null ? "" : value < 60 ? `${value.toFixed(value < 10 ? 1 : 0)}\u00a0s` : `${Math.round(value / 60)}\u00a0min`;
const ordinal = (n) => n === 1 ? "next" : `${n}${{1: "st", 2: "nd", 3: "rd"}[n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;

function time(model) {
  const ms = model.ms_per_megapixel;
  if (ms === null) return "not measured";
  return ms < 1000 ? `${Math.max(10, 10 * Math.round(ms / 10))} ms/MP` : `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s/MP`;
}

function warn(text) {
  $("alert").textContent = text;
  $("alert").hidden = false;
  clearTimeout(warn.timer);
  warn.timer = setTimeout(() => { $("alert").hidden = true; }, 6000);
}

// ---------------------------------------------------------------- the form

async function describe() {
  info = await call("api/info");
  const {limits} = info;
  $("limits").textContent = `up to ${limits.megabytes} MB each, ${limits.megapixels} megapixels upscaled, ${limits.images} images`;
  $("watching").hidden = !info.watching;
  $("watching").textContent = info.watching ? `Watching ${info.watching}` : "";
  const chosen = document.querySelector("#models :checked")?.value ?? info.models[0].name;
  $("models").querySelectorAll("label").forEach((label) => label.remove());
  for (const model of info.models) {
    const label = document.createElement("label");
    label.innerHTML = `<input type="radio" name="model"><span class="name"><span class="factor"></span><span></span></span><span class="time"></span>`;
    const [input, name, measured] = label.children;
    Object.assign(input, {value: model.name, checked: model.name === chosen});
    name.children[0].textContent = `\u00d7${model.scale}`;
    name.children[1].textContent = model.name;
    measured.textContent = time(model);
    measured.title = model.measured;
    label.title = model.notes;
    $("models").append(label);
  }
  if ($("format").length === 1) $("format").append(...info.formats.map((format) => new Option(format.toUpperCase(), format)));
  note();
}

function note() {
  const model = info.models.find((model) => model.name === document.querySelector("#models :checked")?.value);
  if (!model) return;
  const measured = model.ms_per_megapixel === null ? "" : `${time(model)}: ${model.measured}, for a megapixel of input. `;
  const about = model.notes ? `${model.notes.split(/(?<=\.)\s/)[0]} ` : "";
  const licence = model.licence ? `Licence: ${model.licence}.` : "";
  $("model-note").textContent = `${about}${measured}${licence}`;
}

function listen() {
  $("models").addEventListener("change", note);
  receiveFiles($("files"), add);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", async () => {
    for (const upload of uploads.filter((upload) => upload.state === "failed")) uploads.splice(uploads.indexOf(upload), 1);
    try { await call("api/jobs", "DELETE"); } catch (error) { warn(error.message); }
    look();
  });
  document.addEventListener("visibilitychange", () => document.hidden || look());
}

try {
  await describe();
  listen();
  look();
  setInterval(() => describe().catch(() => {}), 10000);  // times are measured while images are upscaled
} catch (error) {
  warn(error.message);
}
