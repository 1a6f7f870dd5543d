"use strict";
// Meshes in space on a 2D canvas: triangles from back to front, shaded by their slope. No WebGL, so
// it draws on every machine. Camera frame: x right, y down, z forward, metres.
const LEVELS = 32;

function shadesOf(rgb, grey) { // a colour from dark to light; grey: share of grey in it
  const mixed = [1, 3, 5].map((i) => (1 - grey) * parseInt(rgb.slice(i, i + 2), 16) + grey * 120);
  return Array.from({ length: LEVELS + 1 }, (_, i) =>
    `rgb(${mixed.map((c) => Math.round(c * (0.3 + 0.7 * i / LEVELS)))})`);
}

// view: yaw, pitch, zoom. centre, reach: of what is seen. hands: their wrists, their vertices from
// there in units of step, their shades.
function drawHands(canvas, ratio, view, centre, reach, hands, faces, step) {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const distance = 4 * reach, focal = 2 * Math.min(width, height) * view.zoom;
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const turn = (x, y, z) => { // → seen from `distance` before the centre
    x -= centre[0]; y -= centre[1]; z -= centre[2];
    const back = z * cy - x * sy;
    return [x * cy + z * sy, y * cp - back * sp, y * sp + back * cp + distance];
  };
  const flat = ([x, y, z]) => [width / 2 + focal * x / z, height / 2 + focal * y / z];
  drawFloor(context, ratio, centre, reach, (...point) => flat(turn(...point)));
  const triangles = hands.flatMap(({ wrist, vertices, shades }) => {
    const places = [], corners = [];
    for (let v = 0; v < vertices.length; v += 3) {
      const place = turn(...wrist.map((x, i) => x + step * vertices[v + i]));
      places.push(place);
      corners.push(flat(place));
    }
    return trianglesOf(faces, places, corners, shades);
  });
  triangles.sort((a, b) => b.depth - a.depth);
  context.lineWidth = 0.8;
  context.lineJoin = "round";
  for (const { corners: [a, b, c], shade } of triangles) {
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.lineTo(c[0], c[1]);
    context.closePath();
    context.fillStyle = context.strokeStyle = shade;
    context.fill();
    context.stroke(); // over the seams
  }
}

function trianglesOf(faces, places, corners, shades) {
  const normals = new Float64Array(faces.length), bent = new Float64Array(3 * places.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [places[faces[f]], places[faces[f + 1]], places[faces[f + 2]]];
    const [ux, uy, uz, vx, vy, vz] = [b[0] - a[0], b[1] - a[1], b[2] - a[2], c[0] - a[0], c[1] - a[1], c[2] - a[2]];
    const normal = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    normals.set(normal, f);
    for (let k = 0; k < 9; k++) bent[3 * faces[f + Math.floor(k / 3)] + k % 3] += normal[k % 3];
  }
  const triangles = [];
  for (let f = 0; f < faces.length; f += 3) { // neighbours share the normals of their vertices
    const [i, j, k] = [faces[f], faces[f + 1], faces[f + 2]], a = places[i];
    const normal = [0, 1, 2].map((x) => bent[3 * i + x] + bent[3 * j + x] + bent[3 * k + x]);
    const away = normals[f] * a[0] + normals[f + 1] * a[1] + normals[f + 2] * a[2] > 0; // both sides are lit
    const depth = a[2] + places[j][2] + places[k][2];
    triangles.push({ corners: [corners[i], corners[j], corners[k]], depth, shade: shades[light(normal, away ? -1 : 1)] });
  }
  return triangles;
}

function light([x, y, z], sign) { // 0 … LEVELS, by the slope
  const slope = sign * (-0.4 * x - 0.65 * y - 0.65 * z) / (Math.sqrt(x * x + y * y + z * z) || 1);
  return Math.round(LEVELS * Math.max(0, 0.5 + 0.5 * slope) ** 1.4);
}

function drawFloor(context, ratio, [x, y, z], reach, flat) {
  const cell = [0.05, 0.1, 0.5, 1, 5].find((size) => reach / size < 8) || 10, n = Math.ceil(reach / cell);
  const snap = (value) => Math.round(value / cell) * cell;
  const [x0, z0, floor] = [snap(x), snap(z), y + 0.8 * reach];
  const at = (i, k) => flat(x0 + cell * i, floor, z0 + cell * k);
  context.strokeStyle = "#39404a";
  context.lineWidth = 1;
  context.beginPath();
  for (let i = -n; i <= n; i++) {
    for (const [from, to] of [[[i, -n], [i, n]], [[-n, i], [n, i]]]) {
      context.moveTo(...at(...from));
      context.lineTo(...at(...to));
    }
  }
  context.stroke();
  context.fillStyle = "#9aa3af";
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.fillText("camera’s side", ...at(0, -n));
  context.textAlign = "left";
  context.fillText(`squares of ${cell * 100} cm`, 10 * ratio, context.canvas.height - 10 * ratio);
}
