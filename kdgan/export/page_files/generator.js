// A generator: one noise, changed by sliders and on the way from one to another, and what each network makes of it.

const FRAMES = 9, REACH = 3;

// Standard normal numbers (Box and Muller 1958).
function normal(count) {
  return Float32Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
}

// From a to b along the great circle (White 2016), t in [0, 1].
function between(a, b, t) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  const sine = Math.max(Math.sin(angle), 1e-6);
  return a.map((value, i) => (Math.sin((1 - t) * angle) * value + Math.sin(t * angle) * b[i]) / sine);
}

// Noise [n, latent] as a network takes it: itself, or the projection that all players of a run share.
function given(network, noise, count) {
  if (!network.projection) return noise;
  const { shape: [latent, smaller], data: matrix } = network.projection, made = new Float32Array(count * smaller);
  for (let n = 0; n < count; n++)
    for (let j = 0; j < smaller; j++) {
      let sum = 0;
      for (let i = 0; i < latent; i++) sum += noise[n * latent + i] * matrix[i * smaller + j];
      made[n * smaller + j] = sum;
    }
  return made;
}

// Arrays and shapes of a call: noise [n, d] and, of a network with a second input, classes [n].
function feeds(network, noise, labels) {
  const count = labels.length, conditional = network.session.inputMetadata.length > 1;
  const arrays = [given(network, noise, count)], shapes = [[count, network.latent]];
  return conditional ? [[...arrays, Int32Array.from(labels)], [...shapes, [count]]] : [arrays, shapes];
}

function start(networks) {
  const { shape: [count, latent], data } = unpacked(page.noise, Float32Array);
  const vector = i => data.slice(i * latent, (i + 1) * latent);
  const conditional = networks.some(({ session }) => session.inputMetadata.length > 1), { classes } = page;
  let noise = vector(0), ends = [vector(0), vector(1)], label = 0, several = data.slice(), playing = 0;

  const cards = networks.map(network => {
    const canvas = make("canvas", { role: "img", "aria-label": `Image that the ${network.label} makes of the noise` });
    const cost = costLine(network);
    return { canvas, cost, element: make("article", { class: "card", "aria-labelledby": "card-" + network.number },
      make("h3", { id: "card-" + network.number }, network.label), canvas, cost.element) };
  });
  const rowsOf = (what, kind) => networks.map(network => {
    const canvas = make("canvas", { role: "img", class: kind, "aria-label": `${what} of the ${network.label}` });
    return { canvas, element: make("figure", {}, make("figcaption", {}, network.label), canvas) };
  });
  const strips = rowsOf("Images between the two noises,", "strip"), grids = rowsOf("Images of sixteen noises,", "grid");

  async function showOne(settled) {
    for (const [i, network] of networks.entries()) {
      const [arrays, shapes] = feeds(network, noise, [label]);
      const { output, time } = settled ? await timed(network, arrays, shapes) : { output: await call(network, arrays, shapes) };
      paint(cards[i].canvas, imagesOf({ shape: output.shape, data: shown(output.data) })[0]);
      if (time) cards[i].cost.set(time);
    }
  }
  async function showMany(rows, noises, labels, columns) {
    for (const [i, network] of networks.entries()) {
      const output = await callAll(network, ...feeds(network, noises, labels));
      paint(rows[i].canvas, tiled(imagesOf({ shape: output.shape, data: shown(output.data) }), columns));
    }
  }
  const one = (settled = true) => schedule("one", () => showOne(settled));
  const strip = () => schedule("strip", () => {
    const path = new Float32Array(FRAMES * latent);
    for (let n = 0; n < FRAMES; n++) path.set(between(...ends, n / (FRAMES - 1)), n * latent);
    return showMany(strips, path, Array(FRAMES).fill(label), FRAMES);
  });
  const grid = () => schedule("grid", () =>
    showMany(grids, several, Array.from({ length: count }, (_, i) => classes.length ? i % classes.length : 0), 8));

  const two = value => value.toFixed(2);
  const sliders = page.sliders.map(dimension => ({ dimension, ...slider(`dimension ${dimension + 1}`, {
    min: -REACH, max: REACH, step: 0.01, value: noise[dimension], format: two,
    change: value => { noise = noise.slice(); noise[dimension] = value; one(false); },
  }) }));
  const position = slider("way from the first to the second", { min: 0, max: 1, step: 0.01, value: 0, format: two,
    change: value => { stop(); along(value, false); } });

  function set(value, settled = true) {
    noise = value;
    sliders.forEach(({ dimension, set }) => set(noise[dimension]));
    one(settled);
  }
  function along(t, settled) {
    position.set(t);
    set(Float32Array.from(between(...ends, t)), settled);
  }
  function pair(a, b) {
    ends = [a, b];
    along(0, true);
    strip();
  }
  const play = button("Play", () => playing ? stop() : go(), { "aria-pressed": "false" });
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  function go() {
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    const began = performance.now(), seconds = 5;
    const step = now => {
      const turn = ((now - began) / 1000 / seconds) % 2;  // there and back
      along(turn < 1 ? Math.max(0, turn) : 2 - turn, false);
      playing = requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
  }

  document.getElementById("app").append(
    make("div", { class: "bench-of-noise" },
      section("The same noise", make("div", { class: "cards pictures" }, ...cards.map(({ element }) => element)),
        make("p", { class: "buttons" }, button("New noise", () => { stop(); pair(normal(latent), normal(latent)); }))),
      section("Change it",
        ...(conditional && classes.length ? [choice("class", classes, label, value => { label = value; one(); strip(); })] : []),
        make("h3", {}, `${sliders.length} of its ${latent} dimensions`),
        make("div", { class: "sliders" }, ...sliders.map(({ row }) => row)),
        make("h3", {}, "From one noise to another"), position.row, make("p", { class: "buttons" }, play))),
    section("On the way from one noise to another", make("div", { class: "rows" }, ...strips.map(({ element }) => element))),
    section("Sixteen noises", make("div", { class: "rows two" }, ...grids.map(({ element }) => element)),
      make("p", { class: "buttons" }, button("Sixteen others", () => { several = normal(count * latent); grid(); }))));
  one();
  strip();
  grid();
}

// The images of the noise that the page starts with, with the classes 0, 1, ... in turn.
async function selftest(networks) {
  const { shape: [count], data } = unpacked(page.noise, Float32Array), outputs = [];
  const labels = Array.from({ length: count }, (_, i) => page.classes.length ? i % page.classes.length : 0);
  for (const network of networks) outputs.push(await callAll(network, ...feeds(network, data, labels)));
  return outputs;
}
