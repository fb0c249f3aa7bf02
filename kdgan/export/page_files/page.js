// The page: its runtime and networks, one call after another, and the elements that all kinds of page are made of.

const BLOCKS = 4, BLOCK = 3;  // a time is the least of so many blocks of calls, each of so many milliseconds or more
const take = id => {
  const element = document.getElementById(id), text = element.textContent;
  element.remove();  // the text is large, and needed once
  return text;
};
const page = JSON.parse(take("data"));

// ---- elements --------------------------------------------------------------------------------------------------------
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);  // strings become text, never markup
  return element;
}

function section(heading, ...children) {
  const id = "heading-" + heading.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return make("section", { "aria-labelledby": id }, make("h2", { id }, heading), ...children);
}

const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);

// One of several: chips where they are few, else a list.
function choice(legend, names, chosen, change) {
  if (names.length > 12) {
    const select = make("select", { onchange: () => change(Number(select.value)) },
      ...names.map((name, i) => make("option", { value: i, selected: i === chosen }, name)));
    return make("label", { class: "field" }, legend, select);
  }
  return make("fieldset", { class: "chips" }, make("legend", {}, legend), ...names.map((name, i) => make("label", {},
    make("input", { type: "radio", name: "choice-" + legend, checked: i === chosen, onchange: () => change(i) }),
    make("span", {}, name))));
}

function slider(label, { min, max, step, value, change, format = String }) {
  const output = make("output", {}, format(value));
  const input = make("input", { type: "range", min, max, step, value, "aria-label": label, oninput: () => {
    output.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    change(Number(input.value));
  } });
  const row = make("div", { class: "slider" }, make("span", { "aria-hidden": "true" }, label), input, output);
  return { row, set: number => { input.value = number; output.textContent = format(number); } };
}

function percent(share) {
  const digits = share < 0.00005 || share >= 0.9995 ? 0 : share >= 0.1 ? 1 : 2;
  return (100 * share).toFixed(digits) + " %";
}
function milliseconds(time) {
  return (time < 0.1 ? time.toFixed(3) : time < 10 ? time.toFixed(2) : time < 100 ? time.toFixed(1) : time.toFixed(0)) + " ms";
}

const kilobytes = bytes => (bytes / 1000).toFixed(bytes < 9950 ? 1 : 0) + " kB";

// The line below a network's answer: time, kilobytes, and what else is said.
function costLine({ bytes }) {
  const time = make("span", {}, "–"), more = make("span", {});
  return { element: make("p", { class: "cost" }, time, make("span", {}, kilobytes(bytes)), more), more,
    set: value => { time.textContent = milliseconds(value) + " an image"; } };
}

// Buttons with the examples in them.
function thumbnails(images, nameOf, choose) {
  return make("div", { class: "thumbnails" },
    ...images.map((image, i) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      paint(canvas, image);
      return make("button", { type: "button", "aria-label": nameOf(i), title: nameOf(i), onclick: () => choose(i) }, canvas);
    }));
}

// A file that is chosen, dropped on the page or pasted into it.
function acceptImages(accept) {
  const input = make("input", { type: "file", accept: "image/*", class: "hidden-input", id: "file", onchange: () => {
    if (input.files[0]) accept(input.files[0]);
    input.value = "";
  } });
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", event => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", event => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) accept(event.dataTransfer.files[0]);
  });
  addEventListener("paste", event => {
    const file = [...event.clipboardData.files].find(one => one.type.startsWith("image/"));
    if (file) accept(file);
  });
  return make("span", { class: "choose" }, input, make("label", { for: "file", class: "button" }, "Choose image"));
}

// ---- networks --------------------------------------------------------------------------------------------------------
async function unzipped(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function openNetworks() {
  const url = URL.createObjectURL(new Blob([bytesOf(take("runtime-module"))], { type: "text/javascript" }));
  const ort = await import(url);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unzipped(bytesOf(take("runtime-wasm")));
  const networks = [];
  for (const [i, model] of page.models.entries()) {
    const session = await ort.InferenceSession.create(bytesOf(take("network-" + i)), { executionProviders: ["wasm"] });
    networks.push({ ...model, number: i, times: new Map(), session, tensor: ort.Tensor, projection: unpacked(model.projection, Float32Array) });
  }
  URL.revokeObjectURL(url);
  return networks;
}

const ARRAYS = { uint8: Uint8Array, float32: Float32Array, int32: Int32Array, int64: BigInt64Array };

// The output {shape, data} of one call, of arrays [n, ...] in the order of the network's inputs.
async function call(network, arrays, shapes) {
  const { session, tensor: Tensor } = network;
  const feeds = {};
  session.inputMetadata.forEach(({ name, type }, i) => {
    const array = type === "int64" ? BigInt64Array.from(arrays[i], BigInt) : ARRAYS[type].from(arrays[i]);
    feeds[name] = new Tensor(type, array, shapes[i]);
  });
  const result = (await session.run(feeds))[session.outputNames[0]];
  return { shape: [...result.dims], data: result.data };
}

// The same of any number of examples, one by one where the network takes one at a time.
async function callAll(network, arrays, shapes) {
  const count = shapes[0][0];
  if (network.session.inputMetadata[0].shape[0] !== 1 || count === 1) return call(network, arrays, shapes);
  const parts = [];
  for (let n = 0; n < count; n++)
    parts.push(await call(network, arrays.map((array, i) => {
      const size = array.length / count;
      return array.subarray(n * size, (n + 1) * size);
    }), shapes.map(shape => [1, ...shape.slice(1)])));
  const size = parts[0].data.length, data = new parts[0].data.constructor(size * count);
  parts.forEach((part, n) => data.set(part.data, n * size));
  return { shape: [count, ...parts[0].shape.slice(1)], data };
}

// The output, and the milliseconds of a call: the least of all blocks so far for inputs of these shapes, as the clock has
// steps of up to a tenth of one and other work disturbs.
async function timed(network, arrays, shapes) {
  const key = shapes.join(";"), output = await call(network, arrays, shapes);
  let time = network.times.get(key) ?? Infinity;
  for (let block = 0; block < BLOCKS && (time < 10 * BLOCK || !block); block++) {
    const start = performance.now();
    let calls = 0, passed = 0;
    do {
      await call(network, arrays, shapes);
      calls++;
      passed = performance.now() - start;
    } while (passed < BLOCK);
    time = Math.min(time, passed / calls);
  }
  network.times.set(key, time);
  return { output, time };
}

// The runtime makes one call at a time. Of jobs under one name the last one that waits is run; an error is shown.
const waiting = new Map();
let working = false;
async function schedule(name, job) {
  waiting.set(name, job);
  if (working) return;
  working = true;
  while (waiting.size) {
    const [next, first] = waiting.entries().next().value;
    waiting.delete(next);
    try { await first(); } catch (error) { report(error); }
    await new Promise(resolve => requestAnimationFrame(resolve));
  }
  working = false;
}

function tell(text) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.hidden = !text;
}

function report(error) {
  document.getElementById("status").classList.add("failed");
  tell("The networks cannot be run: " + (error && error.message || error));
}
