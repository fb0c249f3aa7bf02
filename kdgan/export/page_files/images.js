// Image to image: before and after, with a slider between them.

const MOST_SIDE = 512;  // of an image for networks that take any size

function start(networks) {
  const [height, width, channels] = page.shape;
  const before = examplesOf(page.examples);
  const targets = examplesOf(page.targets);
  const said = make("p", { class: "note", "aria-live": "polite" });
  let share = 0.5;

  const cards = networks.map(network => {
    const under = make("canvas", { role: "img", "aria-label": "Before" });
    const over = make("canvas", { role: "img", class: "over", "aria-label": `After: what the ${network.label} makes of it` });
    const cost = costLine(network);
    const bar = make("input", { type: "range", min: 0, max: 100, step: 1, value: 50, oninput: () => divide(Number(bar.value) / 100),
      "aria-label": `Before and after, ${network.label}: share that is shown as it was before` });
    const frame = make("div", { class: "compare" }, under, over, make("i", { "aria-hidden": "true" }), bar);
    return { under, over, cost, bar, frame, element: make("article", { class: "card", "aria-labelledby": "card-" + network.number },
      make("h3", { id: "card-" + network.number }, network.label), frame,
      make("p", { class: "ends", "aria-hidden": "true" }, make("span", {}, "before"), make("span", {}, "after")),
      cost.element) };
  });
  const truth = make("canvas", { role: "img", "aria-label": "The target in the data" });
  const truthCard = make("article", { class: "card", hidden: true }, make("h3", {}, "the target in the data"), truth);

  function divide(value) {
    share = value;
    for (const { frame, bar } of cards) {
      frame.style.setProperty("--share", 100 * share + "%");
      bar.value = 100 * share;
    }
  }

  async function restore(image, target) {
    for (const [i, network] of networks.entries()) {
      const { output, time } = await timed(network, [image.data], [[1, image.height, image.width, channels]]);
      const made = imagesOf({ shape: output.shape, data: shown(output.data) })[0], cell = cards[i];
      paint(cell.over, made);
      paint(cell.under, image);
      cell.frame.style.aspectRatio = `${made.width} / ${made.height}`;
      cell.cost.set(time);
      const fits = target && target.data.length === made.data.length;
      cell.cost.more.textContent = fits ? `PSNR ${decibels(made.data, target.data).toFixed(2)} dB` : "";
    }
    truthCard.hidden = !target;
    if (target) paint(truth, target);
  }

  const show = (image, target = null) => schedule("restore", () => restore(image, target));
  async function accept(file) {
    const read = await readImage(file);
    said.textContent = read === null ? "This file is no image that the browser can read." : "";
    if (read === null) return;
    const limit = Math.min(1, MOST_SIDE / Math.max(read.height, read.width));
    const [h, w] = [height ?? Math.round(read.height * limit), width ?? Math.round(read.width * limit)];
    show(rounded(scaled(converted(read, channels), middle(read, h, w), h, w)));
  }

  const choose = i => show(before[i], targets[i]);
  document.getElementById("app").append(
    section("Before and after", make("div", { class: "cards pictures large" }, ...cards.map(({ element }) => element), truthCard),
      make("p", { class: "buttons" }, acceptImages(accept)), said,
      ...(before.length ? [make("h3", {}, "Examples of the test split"), thumbnails(before, i => `Example ${i + 1}`, choose)] : []),
      make("p", { class: "note" }, "An image can also be dropped on the page, or pasted."
        + (height && width ? ` It is scaled to ${width} × ${height} pixels, its middle is kept.` : ""))));
  divide(share);
  if (before.length) choose(0);
}

// Peak signal-to-noise ratio of uint8 images.
function decibels(a, b) {
  const error = a.reduce((sum, value, i) => sum + ((value - b[i]) / 255) ** 2, 0) / a.length;
  return -10 * Math.log10(Math.max(error, 1e-10));
}

// What each network makes of the examples.
async function selftest(networks) {
  const outputs = [], { data, shape } = stacked(examplesOf(page.examples));
  if (data) for (const network of networks) outputs.push(await callAll(network, [data], [shape]));
  return outputs;
}
