// A classifier, or of kind "tags" one whose classes hold or not each by itself: draw, choose or drop an image, and see what
// each network makes of it.

const ALL_SHOWN = 10, FIRST_SHOWN = 5;

function start(networks) {
  const [height, width, channels] = page.shape, { classes, pad } = page;
  const examples = examplesOf(page.examples);
  const cards = networks.map(network => card(network));
  const seen = make("canvas", { role: "img", "aria-label": "The image as the networks are given it" });
  const truth = make("span", {}), announced = make("p", { class: "unseen", "aria-live": "polite" });
  const blank = () => ({ height, width, channels, data: new Uint8Array(height * width * channels).fill(pad && !pad.dark ? 255 : 0) });
  let current = null, spoken = 0;

  function card(network) {
    const long = classes.some(name => name.length > 3) ? " long" : "";
    const verdict = make("p", { class: "verdict" + long }, "–"), bars = make("ol", { class: "bars" + long });
    const cost = costLine(network), same = make("p", { class: "same" });
    const element = make("article", { class: "card", "aria-labelledby": "card-" + network.number },
      make("h3", { id: "card-" + network.number }, network.label), verdict, bars,
      cost.element, same);
    return { element, verdict, bars, cost, same };
  }

  const nameOf = k => classes[k] ?? String(k);
  const namesOf = chosen => chosen.map(nameOf).join(", ") || "none";

  // Probabilities [k] in a card: all classes in their order where they are few, else the likeliest. What is decided.
  function showProbabilities({ verdict, bars }, probabilities) {
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    const few = probabilities.length <= ALL_SHOWN;
    const chosen = page.kind === "tags" ? [...probabilities.keys()].filter(k => probabilities[k] > 0.5) : [order[0]];
    verdict.replaceChildren(make("b", { title: namesOf(chosen) }, namesOf(chosen)), " ",
      make("span", {}, page.kind === "tags" ? "above 50 %" : percent(probabilities[order[0]])));
    bars.replaceChildren(...(few ? [...probabilities.keys()] : order.slice(0, FIRST_SHOWN)).map(k => {
      const bar = make("i", {});
      bar.style.width = 100 * probabilities[k] + "%";
      return make("li", { class: chosen.includes(k) ? "best" : "" }, make("span", { class: "name" }, nameOf(k)),
        make("span", { class: "bar", "aria-hidden": "true" }, bar), make("span", { class: "number" }, percent(probabilities[k])));
    }));
    return namesOf(chosen);
  }

  async function predict(image, settled) {
    const answers = [];
    for (const [i, network] of networks.entries()) {
      const shape = [[1, height, width, channels]], cell = cards[i];
      const { output, time } = settled
        ? await timed(network, [image.data], shape) : { output: await call(network, [image.data], shape) };
      answers.push(showProbabilities(cell, output.data));
      if (time) cell.cost.set(time);
      const differs = answers[i] !== answers[0];
      cell.same.textContent = i === 0 ? "" : (differs ? "differs from " : "agrees with ") + networks[0].label;
      cell.same.classList.toggle("differs", differs);
    }
    const said = answers.map((names, i) => `${networks[i].label}: ${names}`).join("; ");
    clearTimeout(spoken);
    if (settled) spoken = setTimeout(() => { announced.textContent = said; }, 300);
  }

  function show(image, said = "", settled = true) {
    current = image;
    truth.textContent = said;
    paint(seen, image);
    schedule("predict", () => predict(image, settled));
  }

  function clear() {
    current = null;
    paint(seen, blank());
    truth.textContent = "";
    waiting.delete("predict");
    for (const { verdict, bars, same } of cards) {
      verdict.textContent = "–";
      bars.replaceChildren();
      same.textContent = "";
    }
  }

  async function accept(file) {
    const read = await readImage(file);
    if (read === null) { truth.textContent = "This file is no image that the browser can read."; return; }
    if (drawing) drawing.erase();
    const image = rounded(scaled(converted(read, channels), middle(read, height, width), height, width));
    const turned = pad && channels === 1 && hasDarkGround(image) !== pad.dark;
    show(turned ? inverted(image) : image,
      turned ? `Inverted: the training images are ${pad.dark ? "light on dark" : "dark on light"}.` : "");
  }

  const drawing = pad && drawingPad(pad, (ink, settled) => {
    const image = asTrained(ink, pad, height, width);
    if (image) show(image, "", settled); else clear();
  });
  const called = i => page.labels ? `Example ${i + 1}: ${namesOf(page.labels[i])}` : `Example ${i + 1}`;
  const choose = i => {
    if (drawing) drawing.erase();
    show(examples[i], page.labels ? "In the data: " + namesOf(page.labels[i]) : "");
  };
  const buttons = make("p", { class: "buttons" }, ...(drawing ? [button("Clear", () => { drawing.erase(); clear(); })] : []),
    ...(channels === 1 ? [button("Invert", () => current && show(inverted(current)))] : []), acceptImages(accept));
  const said = make("p", { class: "said", role: "status" }, truth);
  document.getElementById("app").append(
    make("div", { class: "workbench" },
      section(drawing ? "Draw" : "An image",
        make("div", { class: "given" }, ...(drawing ? [drawing.canvas] : []),
          make("div", { class: "seen" }, seen, make("p", {}, "What the networks see",
            make("span", { class: "muted" }, `${width} × ${height} pixels${channels === 1 ? ", grey" : ""}`)))),
        said, buttons),
      section("What they say", make("div", { class: "cards" }, ...cards.map(({ element }) => element)), announced)),
    section(examples.length ? "Examples of the test split" : "Other images",
      ...(examples.length ? [thumbnails(examples, called, choose)] : []),
      make("p", { class: "note" }, "Any other image can be chosen, dropped on the page or pasted:"
        + " it is scaled to the networks' size, its middle is kept.")));
  if (examples.length) choose(0); else clear();
}

// A canvas to draw on with mouse, finger or pen; `change(ink, settled)` is told of what is drawn, in [0, 1].
function drawingPad(pad, change) {
  const SIZE = 280, PEN = 24;
  const canvas = make("canvas", { class: "pad", width: SIZE, height: SIZE, role: "img",
    "aria-label": "Drawing pad, for mouse, finger or pen. By keyboard choose an example or an image below." });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [ground, ink] = pad.dark ? ["#000", "#fff"] : ["#fff", "#000"];
  let last = null, empty = true;

  function erase() {
    context.fillStyle = ground;
    context.fillRect(0, 0, SIZE, SIZE);
    empty = true;
    context.fillStyle = pad.dark ? "#777" : "#888";
    context.font = "17px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText("draw here", SIZE / 2, SIZE / 2);
  }
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * SIZE / box.width, (event.clientY - box.top) * SIZE / box.height];
  }
  function line(to) {
    if (empty) { context.fillStyle = ground; context.fillRect(0, 0, SIZE, SIZE); empty = false; }
    Object.assign(context, { strokeStyle: ink, lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
  }
  function changed(settled) {
    const pixels = context.getImageData(0, 0, SIZE, SIZE).data, drawn = new Float32Array(SIZE * SIZE);
    for (let i = 0; i < drawn.length; i++) drawn[i] = pad.dark ? pixels[4 * i] / 255 : 1 - pixels[4 * i] / 255;
    change({ height: SIZE, width: SIZE, channels: 1, data: drawn }, settled);
  }
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    line([last[0] + 0.01, last[1]]);
    changed(false);
  });
  canvas.addEventListener("pointermove", event => {
    if (last === null) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) line(place(one));
    changed(false);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, () => { if (last !== null) { last = null; changed(true); } });
  erase();
  return { canvas, erase };
}

// The probabilities of the examples, of each network.
async function selftest(networks) {
  const outputs = [], { data, shape } = stacked(examplesOf(page.examples));
  if (data) for (const network of networks) outputs.push(await callAll(network, [data], [shape]));
  return outputs;
}
