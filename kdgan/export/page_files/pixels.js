"use strict";
// Pixels: base64 to arrays, images scaled as the training images were, drawings made like them, arrays to canvases.

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function base64Of(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let binary = "";
  for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(binary);
}

// An array as Python packed it.
function unpacked(packed, type) {
  return packed && { shape: packed.shape, data: new type(bytesOf(packed.bytes).buffer) };
}

// The images of an array [n, h, w, c], each {height, width, channels, data}.
function imagesOf({ shape: [count, height, width, channels], data }) {
  const size = height * width * channels;
  return Array.from({ length: count }, (_, i) => (
    { height, width, channels, data: data.subarray(i * size, (i + 1) * size) }));
}

// Images that Python packed one by one.
function examplesOf(packed = []) {
  return packed.map(one => {
    const { shape: [height, width, channels], data } = unpacked(one, Uint8Array);
    return { height, width, channels, data };
  });
}

// Images as one array [n, h, w, c]: as many as are of the first one's size.
function stacked(images) {
  if (!images.length) return {};
  const { height, width, channels } = images[0];
  const same = images.filter(image => image.height === height && image.width === width);
  const data = new Uint8Array(same.length * height * width * channels);
  same.forEach((image, i) => data.set(image.data, i * image.data.length));
  return { shape: [same.length, height, width, channels], data };
}

// Weights of one axis: for each of `size` places the first source index and its weights, over the stretch from..to of a
// source of `length`. A triangle as wide as a step of the target is what Pillow's BILINEAR takes, a box what its BOX takes.
function weights(length, from, to, size, filter) {
  const step = (to - from) / size, scale = Math.max(step, 1);
  const reach = (filter === "box" ? 0.5 : 1) * scale;
  return Array.from({ length: size }, (_, i) => {
    const centre = from + (i + 0.5) * step;
    const first = Math.max(Math.floor(centre - reach + 0.5), 0), end = Math.min(Math.floor(centre + reach + 0.5), length);
    const values = [];
    for (let j = first; j < end; j++) {
      const distance = Math.abs(j + 0.5 - centre) / scale;
      values.push(filter === "box" ? Number(distance <= 0.5) : Math.max(0, 1 - distance));
    }
    const sum = values.reduce((a, b) => a + b, 0);
    return { first, values: values.map(value => sum ? value / sum : 0) };
  });
}

// The stretch [x0, x1) × [y0, y1) of an image, scaled to height × width. Floating point.
function scaled(image, [x0, y0, x1, y1], height, width, filter = "triangle") {
  const { channels: c } = image, rows = weights(image.height, y0, y1, height, filter);
  const columns = weights(image.width, x0, x1, width, filter);
  const narrow = new Float32Array(image.height * width * c), data = new Float32Array(height * width * c);
  for (let y = 0; y < image.height; y++)
    columns.forEach(({ first, values }, x) => values.forEach((weight, j) => {
      for (let k = 0; k < c; k++)
        narrow[(y * width + x) * c + k] += weight * image.data[(y * image.width + first + j) * c + k];
    }));
  rows.forEach(({ first, values }, y) => values.forEach((weight, j) => {
    for (let i = 0; i < width * c; i++) data[y * width * c + i] += weight * narrow[(first + j) * width * c + i];
  }));
  return { height, width, channels: c, data };
}

function rounded(image) {
  return { ...image, data: Uint8Array.from(image.data, value => Math.max(0, Math.min(255, Math.round(value)))) };
}

// The middle of an image in the proportions of height : width.
function middle(image, height, width) {
  const proportion = width / height;
  const [w, h] = image.width > image.height * proportion
    ? [image.height * proportion, image.height] : [image.width, image.width / proportion];
  const [x, y] = [(image.width - w) / 2, (image.height - h) / 2];
  return [x, y, x + w, y + h];
}

// An image of 4 channels, red, green, blue and opacity, in 1 (luma, ITU-R 601), 3 or 4; transparent places are white.
function converted({ height, width, data }, channels) {
  const made = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const opacity = channels === 4 ? 1 : data[4 * i + 3] / 255;
    const [r, g, b] = [0, 1, 2].map(k => data[4 * i + k] * opacity + 255 * (1 - opacity));
    const values = channels === 1 ? [0.299 * r + 0.587 * g + 0.114 * b] : [r, g, b, data[4 * i + 3]];
    for (let k = 0; k < channels; k++) made[i * channels + k] = Math.round(values[k]);
  }
  return { height, width, channels, data: made };
}

function inverted(image) {
  return { ...image, data: image.data.map(value => 255 - value) };
}

// Whether the border of an image of one channel is mostly dark.
function hasDarkGround({ height, width, data }) {
  const border = [];
  for (let x = 0; x < width; x++) border.push(data[x], data[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(data[y * width], data[y * width + width - 1]);
  border.sort((a, b) => a - b);
  return border[border.length >> 1] < 128;
}

// What is drawn, ink in [0, 1] of one channel, as one of the training images: as large, at the same place, as bright.
function asTrained(ink, pad, height, width) {
  let [left, top, right, bottom] = [ink.width, ink.height, 0, 0], mass = 0, middleX = 0, middleY = 0;
  for (let y = 0; y < ink.height; y++)
    for (let x = 0; x < ink.width; x++) {
      const value = ink.data[y * ink.width + x];
      if (value < 0.1) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
      mass += value; middleX += value * (x + 0.5); middleY += value * (y + 0.5);
    }
  if (!mass) return null;
  // `ratio` pixels of the drawing are one of the image.
  const ratio = Math.max(right - left, bottom - top) / (pad.extent * Math.max(height, width));
  const [w, h] = [width * ratio, height * ratio];
  // Where the image begins in the drawing: by the centre of mass, and so that all that is drawn lies in it.
  const start = (centre, share, size, low, high) => high - low > size
    ? (low + high - size) / 2 : Math.min(Math.max(centre - share * size, high - size), low);
  const x = start(middleX / mass, pad.centre[0], w, left, right), y = start(middleY / mass, pad.centre[1], h, top, bottom);
  // With a margin of its own size around it, so that the stretch lies within.
  const [mx, my] = [Math.ceil(w), Math.ceil(h)];
  const wide = { height: ink.height + 2 * my, width: ink.width + 2 * mx, channels: 1 };
  wide.data = new Float32Array(wide.height * wide.width);
  for (let row = 0; row < ink.height; row++)
    wide.data.set(ink.data.subarray(row * ink.width, (row + 1) * ink.width), (row + my) * wide.width + mx);
  const image = scaled(wide, [x + mx, y + my, x + mx + w, y + my + h], height, width, "box");
  const gain = Math.min(2, pad.peak / Math.max(1e-6, image.data.reduce((a, b) => Math.max(a, b))));
  const data = image.data.map(value => 255 * Math.min(1, value * Math.max(gain, 1)));
  return rounded({ ...image, data: pad.dark ? data : data.map(value => 255 - value) });
}

// A network's image, floating point in [0, 1] or uint8, as uint8.
function shown(data) {
  return data instanceof Uint8Array ? data : Uint8Array.from(data, x => Math.round(255 * Math.max(0, Math.min(1, x))));
}

function paint(canvas, { height, width, channels, data }) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i++)
    for (let k = 0; k < 4; k++)
      pixels.data[4 * i + k] = k === 3
        ? (channels === 4 ? data[4 * i + 3] : channels === 2 ? data[2 * i + 1] : 255)
        : data[channels * i + (channels < 3 ? 0 : k)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.classList.toggle("small", Math.max(height, width) <= 96);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// Several images as one, `columns` in a row, a line between neighbours.
function tiled(images, columns) {
  const { height, width, channels } = images[0], rows = Math.ceil(images.length / columns);
  const line = Math.max(1, Math.round(width / 16));
  const whole = { height: rows * (height + line) - line, width: columns * (width + line) - line, channels: 4 };
  whole.data = new Uint8Array(whole.height * whole.width * 4);
  images.forEach((image, n) => {
    const [x0, y0] = [(n % columns) * (width + line), Math.floor(n / columns) * (height + line)];
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let k = 0; k < 4; k++)
          whole.data[((y0 + y) * whole.width + x0 + x) * 4 + k] = k === 3
            ? (channels === 4 ? image.data[(y * width + x) * 4 + 3] : 255)
            : image.data[(y * width + x) * channels + (channels < 3 ? 0 : k)];
  });
  return whole;
}

// The pixels of a file that a person chose, or null where it is no image that this browser reads.
async function readImage(file, most = 2048) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { return null; }
  const share = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map(side => Math.max(1, Math.round(side * share)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { height, width, channels: 4, data: context.getImageData(0, 0, width, height).data };
}
