// Runs the network on tiles, exactly as srkd's own tiling does: each tile is given a halo as wide as the network's
// receptive field, so that no pixel depends on where the tiles are cut.

const LARGEST = 16384;  // pixels of a side, and 2 ** 28 in all: what browsers allow a canvas
let ort = null, session = null, facts = null, backend = "", threads = 1;

onmessage = async ({data}) => {
  try {
    await {load, upscale}[data.kind](data);
  } catch (error) {
    postMessage({kind: "failed", error: String(error.message ?? error)});
  }
};

async function load({facts: known, backend: wanted}) {
  facts = known;
  ort = await import(wanted === "webgpu" ? "./ort.webgpu.min.mjs" : "./ort.wasm.min.mjs");
  // Several threads need shared memory, which pages have only with the headers COOP and COEP.
  threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  Object.assign(ort.env.wasm, {numThreads: threads, wasmPaths: new URL("./", import.meta.url).href});
  ort.env.logLevel = "error";
  try {
    session = await ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href, {executionProviders: [wanted], logSeverityLevel: 3});
    backend = wanted === "webgpu" ? "WebGPU" : "WASM";
    await run(new Float32Array(3 * 32 * 32), 32, 32);  // compiles
  } catch (error) {
    if (wanted !== "webgpu") throw error;
    return postMessage({kind: "unavailable", error: String(error.message ?? error).split("\n")[0]});
  }
  postMessage({kind: "ready", backend, threads});
}

async function run(values, height, width) {
  const input = new ort.Tensor("float32", values, [1, 3, height, width]);
  const output = (await session.run({[session.inputNames[0]]: input}))[session.outputNames[0]];
  const data = await output.getData();
  output.dispose();
  return data;
}

async function upscale({file, type}) {
  const started = performance.now();
  const bitmap = await createImageBitmap(file, {premultiplyAlpha: "none"}).catch(() => {
    throw new Error(`${file.name}: not an image that this browser reads`);
  });
  const {width, height} = bitmap, {scale} = facts;
  const [wide, tall] = [width * scale, height * scale];
  if (Math.max(wide, tall) > LARGEST || wide * tall > 2 ** 28) {
    throw new Error(`${file.name}: ${wide}\u00d7${tall} pixels are more than browsers draw; upscale it with srkd upscale`);
  }
  const pixels = drawn(bitmap, width, height).getImageData(0, 0, width, height).data;
  const alpha = hasAlpha(pixels) ? drawn(bitmap, wide, tall) : null;
  bitmap.close();
  const canvas = new OffscreenCanvas(wide, tall), context = canvas.getContext("2d");
  const down = spans(height), across = spans(width);
  let done = 0;
  for (const rows of down) {
    for (const columns of across) {
      const tile = await upscaled(pixels, width, rows, columns);
      if (alpha) takeAlpha(tile, alpha, columns.start * scale, rows.start * scale);
      context.putImageData(tile, columns.start * scale, rows.start * scale);
      postMessage({kind: "progress", share: ++done / (down.length * across.length)});
    }
  }
  const blob = await canvas.convertToBlob({type, quality: 0.95});
  const took = (performance.now() - started) / 1000;
  const sizes = {before: {width, height}, after: {width: wide, height: tall}};
  postMessage({kind: "done", file, blob, seconds: took, backend, threads, ...sizes});
}

function drawn(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}

function hasAlpha(pixels) {
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at] !== 255) return true;
  return false;
}

// As srkd.inference.tiling.spans: the network gets [low, high), and [start, stop) of the result is kept.
function spans(length) {
  const {tile, align, halo, minimum} = facts;
  const step = Math.ceil(Math.ceil(length / Math.ceil(length / tile)) / align) * align;
  const margin = Math.ceil(halo / align) * align;
  const last = Math.max(0, Math.floor((length - minimum) / align) * align);
  const found = [];
  for (let start = 0; start < length; start += step) {
    const stop = Math.min(start + step, length);
    found.push({start, stop, low: Math.min(last, Math.max(0, start - margin)), high: Math.min(stop + margin, length)});
  }
  return found;
}

// As srkd.networks.sides: sides that the network takes, extended by reflection.
function padded(length) {
  return Math.ceil(Math.max(length, facts.minimum) / facts.multiple) * facts.multiple;
}

function mirrored(length, index) {
  return index < length ? index : Math.max(2 * (length - 1) - index, 0);
}

async function upscaled(pixels, width, rows, columns) {
  const [height, breadth] = [rows.high - rows.low, columns.high - columns.low];
  let [tall, wide] = [padded(height), padded(breadth)];
  if (facts.square) tall = wide = Math.max(tall, wide);
  const plane = tall * wide, values = new Float32Array(3 * plane);
  for (let y = 0; y < tall; y++) {
    const line = (rows.low + mirrored(height, y)) * width + columns.low;
    for (let x = 0; x < wide; x++) {
      const from = 4 * (line + mirrored(breadth, x)), to = y * wide + x;
      for (let channel = 0; channel < 3; channel++) values[channel * plane + to] = pixels[from + channel] / 255;
    }
  }
  return kept(await run(values, tall, wide), tall, wide, rows, columns);
}

// The middle of an output as ImageData, whose array clamps and rounds half to even, as srkd does.
function kept(output, tall, wide, rows, columns) {
  const {scale} = facts;
  const [top, left] = [(rows.start - rows.low) * scale, (columns.start - columns.low) * scale];
  const [height, width] = [(rows.stop - rows.start) * scale, (columns.stop - columns.start) * scale];
  const stride = wide * scale, plane = tall * scale * stride;
  const image = new ImageData(width, height), {data} = image;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, from = (top + y) * stride + left; x < width; x++, from++, to += 4) {
      data[to] = output[from] * 255;
      data[to + 1] = output[plane + from] * 255;
      data[to + 2] = output[2 * plane + from] * 255;
      data[to + 3] = 255;
    }
  }
  return image;
}

function takeAlpha(tile, alpha, x, y) {
  const {data} = alpha.getImageData(x, y, tile.width, tile.height);
  for (let at = 3; at < data.length; at += 4) tile.data[at] = data[at];
}
