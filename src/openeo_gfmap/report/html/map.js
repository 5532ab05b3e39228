"use strict";
// The map: an equirectangular projection on a canvas, true to scale in the middle of the samples.

class SampleMap {
  constructor(canvas, samples, land, choose) {
    this.canvas = canvas;
    this.samples = samples;
    this.land = land;
    this.choose = choose;
    this.hidden = new Set();
    this.places = samples.x.map((x, i) => (x === null ? -1 : i)).filter((i) => i >= 0);
    this.chosen = null;
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const first = !this.width;
    this.ratio = window.devicePixelRatio || 1;
    this.width = box.width;
    this.height = box.height;
    this.canvas.width = Math.round(box.width * this.ratio);
    this.canvas.height = Math.round(box.height * this.ratio);
    if (first) this.fit();
    this.draw();
  }

  fit() {
    const xs = this.places.map((i) => this.samples.x[i]), ys = this.places.map((i) => this.samples.y[i]);
    const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
    const box = this.places.length ? [least(xs), least(ys), most(xs), most(ys)] : [-180, -60, 180, 80];
    this.x = (box[0] + box[2]) / 2;
    this.y = (box[1] + box[3]) / 2;
    const wide = Math.max(box[2] - box[0], 0.02) * this.squeeze(), high = Math.max(box[3] - box[1], 0.02);
    this.scale = 0.8 * Math.min(this.width / wide, this.height / high);
  }

  squeeze() { return Math.max(Math.cos((this.y * Math.PI) / 180), 0.05); }
  toX(x) { return this.width / 2 + (x - this.x) * this.scale * this.squeeze(); }
  toY(y) { return this.height / 2 - (y - this.y) * this.scale; }

  move(dx, dy) {
    this.x -= dx / (this.scale * this.squeeze());
    this.y = Math.max(-85, Math.min(85, this.y + dy / this.scale));
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.scale;
    this.scale = Math.min(Math.max(this.scale * factor, 0.8), 4e6);
    const by = 1 - this.scale / before;
    this.move((x - this.width / 2) * by, (y - this.height / 2) * by);
  }

  draw() {
    if (!this.width) return;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name).trim();
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.fillStyle = ink("--water");
    pen.fillRect(0, 0, this.width, this.height);
    pen.fillStyle = ink("--land");
    pen.beginPath();
    for (const ring of this.land) {
      for (let i = 0; i < ring.length; i += 2) {
        pen[i ? "lineTo" : "moveTo"](this.toX(ring[i] / 100), this.toY(ring[i + 1] / 100));
      }
    }
    pen.fill();
    this.grid(pen, ink("--line"), ink("--quiet"));
    const order = ["received", "open", "rejected", "missing"];  // what is wrong lies on top
    for (const state of order) {
      if (this.hidden.has(state)) continue;
      pen.fillStyle = pen.strokeStyle = ink(`--${state}`);
      for (const i of this.places) {
        if (this.samples.states[this.samples.state[i]] === state) this.point(pen, i, state, 4.5);
      }
    }
    if (this.chosen !== null && this.samples.x[this.chosen] !== null) {
      pen.strokeStyle = ink("--ink");
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.arc(this.toX(this.samples.x[this.chosen]), this.toY(this.samples.y[this.chosen]), 9, 0, 7);
      pen.stroke();
    }
  }

  point(pen, i, state, size) {
    const x = this.toX(this.samples.x[i]), y = this.toY(this.samples.y[i]);
    if (x < -9 || y < -9 || x > this.width + 9 || y > this.height + 9) return;
    pen.beginPath();
    pen.lineWidth = 2;
    if (state === "received") { pen.arc(x, y, size - 0.5, 0, 7); pen.fill(); }
    if (state === "open") { pen.arc(x, y, size - 1, 0, 7); pen.stroke(); }
    if (state === "rejected") {
      pen.moveTo(x, y - size); pen.lineTo(x + size, y + size); pen.lineTo(x - size, y + size); pen.fill();
    }
    if (state === "missing") {
      pen.moveTo(x - size, y - size); pen.lineTo(x + size, y + size);
      pen.moveTo(x + size, y - size); pen.lineTo(x - size, y + size); pen.stroke();
    }
  }

  grid(pen, line, text) {
    const wanted = 110 / this.scale;
    const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60].find((s) => s >= wanted) || 90;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    pen.strokeStyle = line;
    pen.fillStyle = text;
    pen.lineWidth = 1;
    pen.font = "11px system-ui, sans-serif";
    const across = this.width / 2 / (this.scale * this.squeeze()), up = this.height / 2 / this.scale;
    const label = (value, plus, minus) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? minus : plus}`;
    pen.beginPath();
    for (let x = Math.ceil((this.x - across) / step) * step; x < this.x + across; x += step) {
      pen.moveTo(this.toX(x), 0); pen.lineTo(this.toX(x), this.height);
      pen.fillText(label(x, "E", "W"), this.toX(x) + 3, 12);
    }
    for (let y = Math.ceil((this.y - up) / step) * step; y < this.y + up; y += step) {
      pen.moveTo(0, this.toY(y)); pen.lineTo(this.width, this.toY(y));
      pen.fillText(label(y, "N", "S"), 4, this.toY(y) - 4);
    }
    pen.stroke();
  }

  nearest(x, y, within) {
    let found = null, best = within * within;
    for (const i of this.places) {
      if (this.hidden.has(this.samples.states[this.samples.state[i]])) continue;
      const d = (this.toX(this.samples.x[i]) - x) ** 2 + (this.toY(this.samples.y[i]) - y) ** 2;
      if (d <= best) [found, best] = [i, d];
    }
    return found;
  }

  show(i) {
    this.chosen = i;
    const x = this.samples.x[i];
    if (x !== null && this.width) {
      const px = this.toX(x), py = this.toY(this.samples.y[i]);
      if (px < 0 || py < 0 || px > this.width || py > this.height) [this.x, this.y] = [x, this.samples.y[i]];
    }
    this.draw();
  }

  toggle(state, shown) {
    this.hidden[shown ? "delete" : "add"](state);
    this.draw();
  }

  listen() {
    const canvas = this.canvas, fingers = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const others = [...fingers.values()].filter((f) => f.pointerId !== event.pointerId);
      const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
      if (others.length) {
        const [other] = others;
        const far = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY) || 1;
        this.zoom(far(event) / far(before));
        moved = 99;
      } else {
        this.move(dx, dy);
        moved += Math.abs(dx) + Math.abs(dy);
      }
      fingers.set(event.pointerId, event);
    });
    const end = (event) => {
      if (fingers.delete(event.pointerId) && event.type === "pointerup" && moved < 5) {
        const found = this.nearest(event.offsetX, event.offsetY, 14);
        if (found !== null) this.choose(found);
      }
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => this.move(60, 0), ArrowRight: () => this.move(-60, 0),
        ArrowUp: () => this.move(0, 60), ArrowDown: () => this.move(0, -60),
        "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(0.7),
        0: () => { this.fit(); this.draw(); },
        Enter: () => {
          const found = this.nearest(this.width / 2, this.height / 2, Infinity);
          if (found !== null) this.choose(found);
        },
      };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
    for (const button of document.querySelectorAll("[data-map]")) {
      button.addEventListener("click", () => {
        if (button.dataset.map === "all") { this.fit(); this.draw(); }
        else this.zoom(button.dataset.map === "in" ? 1.6 : 0.625);
      });
    }
  }
}
