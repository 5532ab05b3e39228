// The map: land, a net of degrees, hulls of jobs, signs of samples. Web Mercator, no network.

const EDGE = 85.05; // degrees of latitude where the projection ends
const CROWD = 12; // samples in a cell that are drawn as one ring
const CELL = 40; // pixels of a cell, up to twice that
const NEAR = 1e6; // pixels across the world from which on each sample is drawn
const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005];

/** Longitude and latitude to the unit square, north up. */
function unit(lon, lat) {
  const angle = (Math.max(-EDGE, Math.min(EDGE, lat)) * Math.PI) / 180;
  return [(lon + 180) / 360, (1 - Math.log(Math.tan(Math.PI / 4 + angle / 2)) / Math.PI) / 2];
}

const latitude = (v) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * v))) * 180) / Math.PI;

/** The convex hull of points (Andrew's monotone chain). */
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (list) => {
    const chain = [];
    for (const p of list) {
      while (chain.length > 1) {
        const [a, b] = chain.slice(-2);
        if ((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) > 0) break;
        chain.pop();
      }
      chain.push(p);
    }
    return chain.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}

/**
 * @param canvas  where to draw
 * @param land    rings of longitudes and latitudes in hundredths of a degree
 * @param points  {x, y, state} by sample; x is null where the place is not known
 * @param jobs    {row, state, samples: [index]} with a place
 * @param chosen  called with {sample}, {samples} of a group, or {job}
 */
function makeMap(canvas, land, points, jobs, chosen) {
  const brush = canvas.getContext("2d");
  const rings = land.map((flat) => {
    const ring = new Float64Array(flat.length);
    for (let i = 0; i < flat.length; i += 2) ring.set(unit(flat[i] / 100, flat[i + 1] / 100), i);
    return ring;
  });
  const places = points.map(({ x, y }) => (x === null ? null : unit(x, y)));
  const hulls = jobs.map((job) => hull(job.samples.map((index) => places[index]).filter(Boolean)));
  const view = { u: 0.5, v: 0.5, scale: 400 }; // middle, and pixels across the world
  let [width, height, ratio] = [0, 0, 1];
  let shown = [];
  let shownJobs = new Set();
  let picked = {};
  let waiting = false;
  let groups = []; // as they were drawn: {x, y, radius, members}
  let singles = [];
  let colours = {};
  let stamps = {};

  const toX = (u) => (u - view.u) * view.scale + width / 2;
  const toY = (v) => (v - view.v) * view.scale + height / 2;

  function readColours() {
    const probe = make("span", { hidden: true });
    canvas.parentNode.append(probe);
    for (const name of ["ink", "soft", "line", "card", "sea", "land", "shore", "received", "missing", "rejected", "open"]) {
      probe.style.color = `var(--${name})`;
      colours[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    stamps = {};
  }

  /** A sign drawn once, to be copied to thousands of places. */
  function stamp(state, size) {
    const key = `${state} ${size} ${ratio}`;
    if (!stamps[key]) {
      const made = document.createElement("canvas");
      made.width = made.height = Math.ceil((size + 3) * ratio);
      const pen = made.getContext("2d");
      pen.scale(ratio, ratio);
      pen.translate(1.5, 1.5);
      pen.scale(size / 12, size / 12);
      const path = new Path2D(SIGNS[SIGN_OF[state]]);
      pen.strokeStyle = colours.card;
      pen.lineWidth = 18 / size;
      pen.stroke(path);
      pen.fillStyle = colours[state];
      pen.fill(path, "evenodd");
      stamps[key] = made;
    }
    return stamps[key];
  }

  function keep() {
    view.scale = Math.max(Math.min(width, height) * 0.9, Math.min(view.scale, 4e7));
    view.u = Math.max(0, Math.min(1, view.u));
    view.v = Math.max(0, Math.min(1, view.v));
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  }

  function draw() {
    waiting = false;
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.fillStyle = colours.sea;
    brush.fillRect(0, 0, width, height);
    drawLand();
    drawNet();
    drawJobs();
    drawSamples();
    drawScale();
    if (canvas.matches(":focus-visible")) drawCross();
  }

  function drawLand() {
    brush.beginPath();
    for (const ring of rings) {
      for (let i = 0; i < ring.length; i += 2) brush[i ? "lineTo" : "moveTo"](toX(ring[i]), toY(ring[i + 1]));
      brush.closePath();
    }
    brush.fillStyle = colours.land;
    brush.fill("evenodd");
    brush.strokeStyle = colours.shore;
    brush.lineWidth = 1;
    brush.stroke();
  }

  function drawNet() {
    const step = STEPS.findLast((each) => (each / 360) * view.scale > 90) ?? STEPS[0];
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const west = Math.max(-180, (view.u - width / 2 / view.scale) * 360 - 180);
    const east = Math.min(180, (view.u + width / 2 / view.scale) * 360 - 180);
    const north = latitude(Math.max(0, view.v - height / 2 / view.scale));
    const south = latitude(Math.min(1, view.v + height / 2 / view.scale));
    const named = (degrees, plus, minus) =>
      `${Math.abs(degrees).toFixed(digits)}°${degrees > step / 2 ? plus : degrees < -step / 2 ? minus : ""}`;
    brush.strokeStyle = colours.line;
    brush.fillStyle = colours.soft;
    brush.font = "11px system-ui, sans-serif";
    brush.lineWidth = 0.6;
    brush.beginPath();
    for (let n = Math.ceil(west / step); n * step <= east; n++) {
      const x = toX(unit(n * step, 0)[0]);
      brush.moveTo(x, 0);
      brush.lineTo(x, height);
      if (x < width - 90) brush.fillText(named(n * step, "E", "W"), x + 3, 13);
    }
    for (let n = Math.ceil(south / step); n * step <= north; n++) {
      const y = toY(unit(0, n * step)[1]);
      brush.moveTo(0, y);
      brush.lineTo(width, y);
      if (y > 26 && y < height - 40) brush.fillText(named(n * step, "N", "S"), 4, y - 3);
    }
    brush.stroke();
  }

  function drawJobs() {
    hulls.forEach((corners, index) => {
      if (corners.length < 2 || !shownJobs.has(index)) return;
      const xs = corners.map(([u]) => toX(u));
      const ys = corners.map(([, v]) => toY(v));
      const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      const isPicked = picked.job === index;
      if (right < 0 || left > width || bottom < 0 || top > height) return;
      if (right - left + bottom - top < 12 && !isPicked) return;
      brush.beginPath();
      xs.forEach((x, corner) => brush[corner ? "lineTo" : "moveTo"](x, ys[corner]));
      brush.closePath();
      const failed = jobs[index].state === "failed";
      brush.strokeStyle = isPicked ? colours.ink : failed ? colours.missing : colours.soft;
      brush.fillStyle = brush.strokeStyle;
      brush.lineWidth = isPicked ? 2.5 : 1;
      brush.lineJoin = "round";
      brush.setLineDash(failed ? [5, 3] : []);
      brush.globalAlpha = failed ? 0.12 : 0.07;
      brush.fill();
      brush.globalAlpha = isPicked ? 1 : 0.7;
      brush.stroke();
      brush.globalAlpha = 1;
      brush.setLineDash([]);
    });
  }

  /** Sort what is in view into groups and single samples; cells keep their place on the world. */
  function gather() {
    const side = CELL / 2 ** Math.floor(Math.log2(view.scale));
    const cells = new Map();
    for (const index of shown) {
      const [u, v] = places[index];
      const [x, y] = [toX(u), toY(v)];
      if (x < -CELL || y < -CELL || x > width + CELL || y > height + CELL) continue;
      const key = view.scale < NEAR ? `${Math.floor(u / side)} ${Math.floor(v / side)}` : index;
      const cell = cells.get(key);
      if (cell) cell.push(index);
      else cells.set(key, [index]);
    }
    groups = [];
    singles = [];
    for (const members of [...cells.values()].sort((one, other) => other.length - one.length)) {
      if (members.length < CROWD) {
        singles.push(...members);
        continue;
      }
      const group = grouped(members);
      // One that would lie upon a larger one joins it.
      const under = groups.find((each) => Math.hypot(each.x - group.x, each.y - group.y) < 0.9 * (each.radius + group.radius));
      if (under) Object.assign(under, grouped(under.members.concat(members)));
      else groups.push(group);
    }
  }

  function grouped(members) {
    const mean = (axis) => members.reduce((all, index) => all + places[index][axis], 0) / members.length;
    const radius = Math.min(19, 8 + 3.2 * Math.log10(members.length));
    return { x: toX(mean(0)), y: toY(mean(1)), radius, members };
  }

  function drawSamples() {
    gather();
    groups.forEach(drawGroup);
    const size = shown.length < 300 || view.scale > 2e5 ? 11 : 9;
    // What is lacking lies above what came.
    for (const state of ["received", "open", "rejected", "missing"]) {
      const picture = stamp(state, size);
      const side = picture.width / ratio;
      for (const index of singles) {
        if (points[index].state !== state) continue;
        const [u, v] = places[index];
        brush.drawImage(picture, toX(u) - side / 2, toY(v) - side / 2, side, side);
      }
    }
    const place = picked.sample === undefined ? null : places[picked.sample];
    if (place) {
      const picture = stamp(points[picked.sample].state, 11); // it may be in a group
      const side = picture.width / ratio;
      brush.drawImage(picture, toX(place[0]) - side / 2, toY(place[1]) - side / 2, side, side);
      brush.strokeStyle = colours.ink;
      brush.lineWidth = 2.5;
      brush.beginPath();
      brush.arc(toX(place[0]), toY(place[1]), size, 0, 7);
      brush.stroke();
    }
  }

  /** A ring whose parts are the states: what is missing or rejected also stands out of it. */
  function drawGroup({ x, y, radius, members }) {
    brush.fillStyle = colours.card;
    brush.beginPath();
    brush.arc(x, y, radius + 1.5, 0, 7);
    brush.fill();
    let from = -Math.PI / 2;
    for (const [state, out] of [["missing", 3], ["rejected", 1.5], ["open", 0], ["received", 0]]) {
      const part = members.filter((index) => points[index].state === state).length / members.length;
      if (!part) continue;
      const to = from + 2 * Math.PI * part;
      brush.beginPath();
      brush.arc(x, y, radius + out, from, to);
      brush.arc(x, y, radius - 4, to, from, true);
      brush.closePath();
      brush.fillStyle = colours[state];
      brush.globalAlpha = state === "open" ? 0.6 : 1;
      brush.fill();
      brush.globalAlpha = 1;
      from = to;
    }
    const number = members.length;
    brush.fillStyle = colours.ink;
    brush.textAlign = "center";
    brush.textBaseline = "middle";
    brush.font = "600 9.5px system-ui, sans-serif";
    brush.fillText(number < 1000 ? number : `${Math.round(number / 1000)}k`, x, y + 0.5);
    brush.textAlign = "start";
    brush.textBaseline = "alphabetic";
  }

  function drawScale() {
    const metres = (40075017 * Math.cos((latitude(view.v) * Math.PI) / 180)) / view.scale; // a pixel
    const most = metres * 120;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find((each) => each * power <= most) * power;
    const [right, y] = [width - 12, height - 12];
    const left = right - length / metres;
    brush.strokeStyle = brush.fillStyle = colours.ink;
    brush.font = "11px system-ui, sans-serif";
    brush.lineWidth = 1.5;
    brush.beginPath();
    brush.moveTo(left, y - 5);
    brush.lineTo(left, y);
    brush.lineTo(right, y);
    brush.lineTo(right, y - 5);
    brush.stroke();
    const text = length >= 1000 ? `${count(length / 1000)} km` : `${length} m`;
    brush.fillText(text, left + 4, y - 5);
  }

  function drawCross() {
    brush.strokeStyle = colours.ink;
    brush.lineWidth = 1;
    brush.beginPath();
    brush.moveTo(width / 2 - 8, height / 2);
    brush.lineTo(width / 2 + 8, height / 2);
    brush.moveTo(width / 2, height / 2 - 8);
    brush.lineTo(width / 2, height / 2 + 8);
    brush.stroke();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const [u, v] = [view.u + (x - width / 2) / view.scale, view.v + (y - height / 2) / view.scale];
    const before = view.scale;
    view.scale = Math.max(Math.min(width, height) * 0.9, Math.min(before * factor, 4e7));
    view.u = u - (x - width / 2) / view.scale;
    view.v = v - (y - height / 2) / view.scale;
    keep();
  }

  function move(dx, dy) {
    view.u -= dx / view.scale;
    view.v -= dy / view.scale;
    keep();
  }

  function fit(indices) {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const index of indices) {
      const [u, v] = places[index];
      left = Math.min(left, u);
      right = Math.max(right, u);
      top = Math.min(top, v);
      bottom = Math.max(bottom, v);
    }
    if (left > right) return;
    view.u = (left + right) / 2;
    view.v = (top + bottom) / 2;
    // One sample alone is shown with some kilometres around it.
    view.scale = Math.min((width * 0.8) / (right - left || 1e-9), (height * 0.75) / (bottom - top || 1e-9), 5e5);
    keep();
  }

  function nearest(x, y, reach) {
    let [best, found] = [reach * reach, null];
    for (const index of singles) {
      const [u, v] = places[index];
      const far = (toX(u) - x) ** 2 + (toY(v) - y) ** 2;
      if (far < best) [best, found] = [far, index];
    }
    return found;
  }

  function jobAt(x, y) {
    const [u, v] = [view.u + (x - width / 2) / view.scale, view.v + (y - height / 2) / view.scale];
    const inside = (corners) => corners.length > 2 && corners.every((a, i) => {
      const b = corners[(i + 1) % corners.length];
      return (b[0] - a[0]) * (v - a[1]) - (b[1] - a[1]) * (u - a[0]) >= 0;
    });
    const found = hulls.findIndex((corners, index) => shownJobs.has(index) && inside(corners));
    return found < 0 ? null : found;
  }

  function choose(x, y, reach) {
    const far = (group) => Math.hypot(group.x - x, group.y - y);
    const group = groups.filter((each) => far(each) < Math.max(each.radius, reach)).sort((a, b) => far(a) - far(b))[0];
    const sample = nearest(x, y, group ? far(group) : reach);
    if (group && sample === null) return pick({ samples: group.members });
    if (sample !== null) return pick({ sample });
    const job = jobAt(x, y);
    if (job !== null) pick({ job });
  }

  function pick(what) {
    picked = what;
    keep();
    chosen(what);
  }

  function stride(by) {
    if (!shown.length) return;
    const at = shown.indexOf(picked.sample);
    const sample = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : (at + by + shown.length) % shown.length];
    [view.u, view.v] = places[sample];
    pick({ sample });
  }

  // --- mouse, touch and pen
  const pointers = new Map();
  let travelled = 0;
  const here = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, here(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = here(event);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (p) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
      travelled = Infinity; // no click
      zoom(apart(now) / apart(before), other[0], other[1]);
    } else {
      move(now[0] - before[0], now[1] - before[1]);
    }
    pointers.set(event.pointerId, now);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pointers.delete(event.pointerId) && !pointers.size && travelled < 6) {
      choose(...here(event), event.pointerType === "touch" ? 24 : 14);
    }
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    // Without the focus, the wheel is for the page.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(2 ** (-event.deltaY / 300), ...here(event));
  }, { passive: false });

  // --- keys
  const KEYS = {
    ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0),
    ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
    0: () => fit(shown), n: () => stride(1), p: () => stride(-1),
    Enter: () => choose(width / 2, height / 2, Infinity),
  };
  canvas.addEventListener("keydown", (event) => {
    const action = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
  canvas.addEventListener("focus", keep);
  canvas.addEventListener("blur", keep);

  new ResizeObserver(() => {
    const first = !width;
    ratio = devicePixelRatio || 1;
    ({ clientWidth: width, clientHeight: height } = canvas);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (first) fit(shown);
    waiting = true;
    draw(); // at once, since a new size has emptied it
  }).observe(canvas);
  readColours();

  return {
    zoom,
    fit: () => fit(shown),
    fitTo: fit,
    /** Show these samples, and the jobs they belong to. */
    show(indices, jobIndices) {
      shown = indices.filter((index) => places[index]);
      shownJobs = jobIndices;
      keep();
    },
    /** Mark a sample or a job, and bring it into view when it has a place. */
    mark(what) {
      picked = what;
      const at = what.sample !== undefined ? [what.sample].filter((i) => places[i]) : jobs[what.job].samples.filter((i) => places[i]);
      if (width) fit(at);
      keep();
    },
    recolour() {
      readColours();
      if (width) draw(); // at once: who prints does not wait for a frame
    },
  };
}
