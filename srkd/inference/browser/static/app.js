import {Compare} from "./compare.js";
import {receiveFiles} from "./files.js";

const $ = (id) => document.getElementById(id);
const link = Object.assign(document.createElement("a"), {className: "button primary", textContent: "Download"});
const compare = new Compare($("compare"), link);
const shown = [];  // addresses of blobs in the viewer
let facts = null, worker = null, file = null, result = null, running = false;

$("unserved").hidden = true;

const say = (text) => { if ($("status").textContent !== text) $("status").textContent = text; };
const size = ({width, height}) => `${width}\u00d7${height}`;
const way = ({backend, threads}) => backend === "WASM" ? `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}` : backend;
const seconds = (value) => `${value.toFixed(value < 10 ? 2 : 1)} s`;

function warn(text) {
  $("alert").textContent = text;
  $("alert").hidden = false;
  clearTimeout(warn.timer);
  warn.timer = setTimeout(() => { $("alert").hidden = true; }, 8000);
}

function describe(more = []) {
  const known = [
    ["Model", facts.name], ["Factor", `\u00d7${facts.scale}`],
    ["Parameters", facts.parameters?.toLocaleString("en") ?? "not stated"], ["Licence", facts.licence ?? "not stated"], ...more,
  ];
  $("facts").replaceChildren(...known.flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), {textContent: name}), Object.assign(document.createElement("dd"), {textContent: value}),
  ]));
}

function start() {
  worker?.terminate();
  worker = new Worker("worker.js", {type: "module"});
  worker.onmessage = ({data}) => receive[data.kind](data);
  worker.onerror = (event) => receive.failed({error: event.message ?? "the worker could not be started"});
  worker.postMessage({kind: "load", facts, backend: $("backend").value});
  say("Loading the network");
}

const receive = {
  ready(found) {
    worker.ready = true;
    say(`Ready, ${way(found)}`);
    if (file) upscale();
  },
  // WebGPU may be there and yet not work; the other way always does.
  unavailable({error}) {
    warn(`WebGPU cannot run this network here (${error}); it is computed by WebAssembly.`);
    $("backend").value = "wasm";
    start();
  },
  progress({share}) {
    $("step").textContent = `Upscaling, ${Math.round(100 * share)} %`;
    document.querySelector("#work .bar i").style.width = `${100 * share}%`;
    document.querySelector("#work .bar").setAttribute("aria-valuenow", Math.round(100 * share));
  },
  done(found) {
    result = found;
    finish();
    const pixels = found.before.width * found.before.height / 1e6;
    say(`Done in ${seconds(found.seconds)}`);
    describe([["Time", `${seconds(found.seconds)}, ${seconds(found.seconds / pixels)} for a megapixel of input`], ["Computed by", way(found)]]);
    show();
  },
  failed({error}) {
    finish();
    say("Ready");
    warn(error);
  },
};

function finish() {
  running = false;
  file = null;
  $("work").hidden = true;
}

function show() {
  for (const address of shown.splice(0)) URL.revokeObjectURL(address);
  const [before, after] = [URL.createObjectURL(result.file), URL.createObjectURL(result.blob)];
  shown.push(before, after);
  $("compare").hidden = false;
  $("nothing").hidden = true;
  link.href = after;
  const suffix = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}[result.blob.type];
  link.download = `${result.file.name.replace(/\.[^.]*$/, "") || "image"}_x${facts.scale}.${suffix}`;
  link.setAttribute("aria-label", `Download ${link.download}`);
  compare.show({name: result.file.name, about: `${size(result.before)} \u2192 ${size(result.after)}`, before, after, ...result.after});
  if (matchMedia("(max-width: 52rem)").matches) $("viewer").scrollIntoView({behavior: "smooth", block: "start"});
}

function upscale() {
  running = true;
  $("work").hidden = false;
  $("step").textContent = "Reading";
  document.querySelector("#work .bar i").style.width = "0";
  say("Upscaling");
  worker.postMessage({kind: "upscale", file, type: $("format").value});
}

function take(files) {
  if (!files.length) return;
  if (running) return warn("One image at a time: wait for this one, or cancel it.");
  if (files.length > 1) warn("One image at a time: the first one is upscaled.");
  file = files[0];
  if (worker.ready) upscale();
}

function listen() {
  receiveFiles($("files"), take);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("backend").addEventListener("change", start);
  $("cancel").addEventListener("click", () => {
    finish();
    start();  // a worker that computes does not listen
    $("files").focus();
  });
}

try {
  facts = await (await fetch("model.json")).json();
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter) $("backend").add(new Option("WebGPU", "webgpu"));
  $("backend").add(new Option("WebAssembly", "wasm"));
  describe();
  listen();
  start();
} catch (error) {
  warn(`The network could not be loaded: ${error.message}`);
}
