"use strict";
// One state, the place of the shown frame; `show` draws it in the video, in space and in the curves.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("content").textContent);
const { times, numbers, tracks, rows, faces, parents } = data;
const N = rows.place.length;
const rowsAt = times.map(() => []);
rows.place.forEach((place, row) => rowsAt[place].push(row));

async function unpack(text, width) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const values = new Int16Array(await new Response(stream).arrayBuffer());
  for (let i = width; i < values.length; i++) values[i] += values[i - width];
  return values;
}

function fit(canvas) { // as many pixels as it covers on the screen
  const ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  return ratio;
}

// ------------------------------------------------------------------------------------- the video

const images = [];
function image(place) {
  if (!images[place]) {
    images[place] = new Image();
    images[place].onload = () => place === shown && drawFrame();
    images[place].src = "data:image/jpeg;base64," + data.jpegs[place];
  }
  return images[place];
}

function drawFrame() {
  const canvas = $("frame"), context = canvas.getContext("2d");
  const picture = image(shown);
  for (let k = 1; k < 8 && shown + k < times.length; k++) image(shown + k);
  if (!picture.complete) return; // it draws itself once it is there
  const scale = Math.min(canvas.width / data.size[0], canvas.height / data.size[1]);
  const left = (canvas.width - scale * data.size[0]) / 2, top = (canvas.height - scale * data.size[1]) / 2;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, left, top);
  context.drawImage(picture, 0, 0, ...data.size);
  context.lineCap = "round";
  for (const row of rowsAt[shown]) {
    const at = (j) => [0, 1].map((i) => joints[42 * row + 2 * j + i] / data.parts);
    const bones = new Path2D();
    for (let j = 1; j < 21; j++) {
      bones.moveTo(...at(parents[j]));
      bones.lineTo(...at(j));
    }
    context.setLineDash(rows.observed[row] ? [] : [5 / scale, 6 / scale]);
    for (const [rgb, width] of [["#14171c", 5], [tracks[rows.track[row]].rgb, 3]]) {
      context.strokeStyle = rgb;
      context.lineWidth = width * ratioOfFrame / scale;
      context.stroke(bones);
    }
  }
}

// ------------------------------------------------------------------------------------------ space

const SLOT_M = 0.2; // close up, hands stand so far from one another
const view = { yaw: 0.5, pitch: 0.35, zoom: 1, places: "follow" };
const quantile = (values, part) => Float64Array.from(values).sort()[Math.floor(part * values.length)] || 0;
const median = (points, i) => quantile(points.map((point) => point[i]), 0.5);
const allAt = [0, 1, 2].map((i) => median(rows.wrist, i));
const allReach = 0.15 + quantile(rows.wrist.map((wrist) => apart(wrist, allAt)), 0.95);
const across = tracks.map((_, track) => median(rows.wrist.filter((_, row) => rows.track[row] === track), 0));
const shades = tracks.map(({ rgb }) => [0, 0.75].map((grey) => shadesOf(rgb, grey))); // found, filled in

function apart(a, b) {
  return Math.hypot(...a.map((x, i) => x - b[i]));
}

function setting(here) { // where the wrists are drawn, and the centre and reach of what is seen
  if (view.places === "close") {
    const wrists = here.map((row, h) => meanVertex(row).map((x, i) => (i ? 0 : SLOT_M * h) - x));
    return [wrists, [SLOT_M * Math.max(0, here.length - 1) / 2, 0, 0], 0.12 + SLOT_M * Math.max(0, here.length - 1) / 2];
  }
  const wrists = here.map((row) => rows.wrist[row]);
  if (view.places === "fixed" || !here.length) return [wrists, allAt, allReach];
  const centre = [0, 1, 2].map((i) => wrists.reduce((sum, wrist) => sum + wrist[i], 0) / here.length);
  return [wrists, centre, 0.16 + Math.max(...wrists.map((wrist) => apart(wrist, centre)))];
}

function meanVertex(row) { // from the wrist, m
  const sum = [0, 0, 0], from = data.width * row;
  for (let k = 0; k < data.width; k++) sum[k % 3] += vertices[from + k];
  return sum.map((total) => 3 * total * data.step / data.width);
}

function drawSpace() {
  const here = rowsAt[shown].slice().sort((a, b) => across[rows.track[a]] - across[rows.track[b]]);
  const [wrists, centre, reach] = setting(here);
  const hands = here.map((row, h) => ({
    wrist: wrists[h],
    vertices: vertices.subarray(data.width * row, data.width * (row + 1)),
    shades: shades[rows.track[row]][rows.observed[row] ? 0 : 1],
  }));
  drawHands($("space"), ratioOfSpace, view, centre, reach, hands, faces, data.step);
}

// ----------------------------------------------------------------------------------------- curves

const EDGE = { left: 44, right: 8, top: 6, bottom: 18 };
const plots = N === 0 ? [] : data.curves.map((curve) => {
  const box = document.createElement("section");
  box.innerHTML = '<h2></h2><div class="note"></div><div class="values"></div>'
    + '<div class="plot"><canvas></canvas><div class="cursor"></div></div>';
  const [name, unit, values] = box.children;
  [name.textContent, unit.textContent] = [curve.name, curve.unit];
  values.append(...tracks.map(({ rgb }) => {
    const value = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = rgb;
    value.append(dot, "");
    return value;
  }));
  $("curves").append(box);
  const plot = { ...curve, canvas: box.querySelector("canvas"), cursor: box.querySelector(".cursor"), spans: [...values.children] };
  const scrub = (event) => {
    const bounds = plot.canvas.getBoundingClientRect();
    const share = (event.clientX - bounds.left - EDGE.left) / (bounds.width - EDGE.left - EDGE.right);
    pause();
    show(placeAt(times[0] + share * (times.at(-1) - times[0])));
  };
  plot.canvas.onpointerdown = scrub;
  plot.canvas.onpointermove = (event) => event.buttons && scrub(event);
  return plot;
});

const share = (place) => (times[place] - times[0]) / (times.at(-1) - times[0] || 1);

function drawCurve({ canvas, values }) {
  const ratio = fit(canvas), context = canvas.getContext("2d");
  const width = canvas.width / ratio - EDGE.left - EDGE.right, height = canvas.height / ratio - EDGE.top - EDGE.bottom;
  context.scale(ratio, ratio);
  let low = Math.min(...values), high = Math.max(...values);
  const step = [1, 2, 5].flatMap((m) => [-1, 0, 1, 2, 3, 4].map((e) => m * 10 ** e)).sort((a, b) => a - b)
    .find((size) => (high - low) / size <= 3) || (high - low);
  [low, high] = [Math.floor(low / step) * step, Math.max(Math.ceil(high / step), Math.floor(low / step) + 1) * step];
  const x = (place) => EDGE.left + width * share(place);
  const y = (value) => EDGE.top + height * (high - value) / (high - low);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = "#5f646d";
  context.strokeStyle = "#d9dce1";
  context.textAlign = "right";
  for (let i = 0; low + i * step <= high + step / 2; i++) {
    const value = low + i * step;
    context.strokeRect(EDGE.left, y(value), width, 0);
    context.fillText(Number(value.toFixed(2)), EDGE.left - 6, y(value) + 4);
  }
  context.textAlign = "left";
  context.fillText(`${times[0].toFixed(1)} s`, EDGE.left, height + EDGE.top + 14);
  context.textAlign = "right";
  context.fillText(`${times.at(-1).toFixed(1)} s`, EDGE.left + width, height + EDGE.top + 14);
  for (let row = 0; row < N; row++) { // rows are in the order of tracks, then of frames
    const last = row - 1, goesOn = rows.track[last] === rows.track[row] && rows.place[last] + 1 === rows.place[row];
    context.fillStyle = context.strokeStyle = tracks[rows.track[row]].rgb;
    context.lineWidth = 1.6;
    context.setLineDash(rows.observed[row] && (!goesOn || rows.observed[last]) ? [] : [2, 3]);
    context.beginPath();
    context.moveTo(goesOn ? x(rows.place[last]) : x(rows.place[row]) - 0.8, y(values[goesOn ? last : row]));
    context.lineTo(x(rows.place[row]) + (goesOn ? 0 : 0.8), y(values[row]));
    context.stroke();
  }
}

function moveCursor({ canvas, cursor, values, spans }) {
  const width = canvas.clientWidth - EDGE.left - EDGE.right;
  cursor.style.left = `${EDGE.left + width * share(shown)}px`;
  spans.forEach((span, track) => {
    const row = rowsAt[shown].find((row) => rows.track[row] === track);
    span.lastChild.data = `${tracks[track].name}: ${row === undefined ? "–" : values[row].toFixed(1)}`;
  });
}

// ------------------------------------------------------------------------------- moving all of it

let shown = 0, joints, vertices, ratioOfFrame = 1, ratioOfSpace = 1, playing = 0;

function placeAt(time) { // the last frame that begins until then
  let place = times.findIndex((start) => start > time + 1e-6);
  return Math.max(0, (place < 0 ? times.length : place) - 1);
}

function show(place) {
  shown = Math.max(0, Math.min(times.length - 1, place));
  $("slider").value = shown;
  $("where").textContent = `frame ${numbers[shown]} · ${times[shown].toFixed(2)} s`;
  drawFrame();
  drawSpace();
  plots.forEach(moveCursor);
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  $("play").textContent = "Play";
}

function play() {
  if (shown === times.length - 1) show(0);
  const first = times[shown], start = performance.now(), speed = Number($("speed").value);
  $("play").textContent = "Pause";
  const tick = () => {
    const time = first + speed * (performance.now() - start) / 1000, place = placeAt(time);
    if (place !== shown) show(place);
    if (place === times.length - 1) pause();
    else playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
}

function listen() {
  $("play").onclick = () => (playing ? pause() : play());
  $("speed").onchange = () => { if (playing) { pause(); play(); } };
  $("slider").oninput = () => { pause(); show(Number($("slider").value)); };
  addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT|BUTTON)$/.test(event.target.tagName) && event.target.id !== "slider") return;
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " ") $("play").click();
    else if (steps) { pause(); show(shown + steps); }
    else return;
    event.preventDefault();
  });
  $("places").onchange = () => { view.places = $("places").value; drawSpace(); };
  document.querySelectorAll("[data-turn]").forEach((button) => button.onclick = () => {
    [view.yaw, view.pitch] = button.dataset.turn.split(",").map(Number);
    view.zoom = 1;
    drawSpace();
  });
  const space = $("space"), fingers = new Map();
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y) || 1;
  };
  space.onpointerdown = (event) => {
    space.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  space.onpointermove = (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = fingers.size === 2 && spread();
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    [finger.x, finger.y] = [event.clientX, event.clientY];
    if (before) zoom(spread() / before);
    else {
      view.yaw -= dx * 0.008;
      view.pitch = Math.max(-1.57, Math.min(1.57, view.pitch + dy * 0.008));
      drawSpace();
    }
  };
  space.onpointerup = space.onpointercancel = (event) => fingers.delete(event.pointerId);
  space.onwheel = (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.001)); };
  new ResizeObserver(resize).observe($("views"));
}

function zoom(factor) {
  view.zoom = Math.max(0.3, Math.min(8, view.zoom * factor));
  drawSpace();
}

function resize() {
  ratioOfFrame = fit($("frame"));
  ratioOfSpace = fit($("space"));
  plots.forEach(drawCurve);
  show(shown);
}

async function start() {
  if (!window.DecompressionStream) throw Error("it lacks DecompressionStream; a newer one shows the hands");
  [joints, vertices] = await Promise.all([unpack(data.joints, 42), unpack(data.vertices, data.width)]);
  listen();
  resize();
}

start().catch((error) => {
  $("fault").hidden = false;
  $("fault").textContent = `This browser cannot show the page: ${error.message}`;
  throw error;
});
