// The image with its boxes: zoom, pan, window and level, and the boxes that one draws and moves.

const GRIP_PX = { mouse: 7, pen: 9, touch: 18 };
const LEAST_BOX_PX = 2; // of the image
const NEARLY_ACROSS = 0.8; // of the way to a proposal's opposite side
const DRIFT = 0.25; // of a pull: how far a hand strays along the side that it pulls
const CLICK_PX = 4; // of the screen
const MARGIN = 20;
const MOST_ZOOM = 40;
const STROKE_STEP_PX = 3; // of the screen
const CLOSE_PX = 16;
const MOST_POINTS = 1500;

// Of findings in their order for which nobody chose a colour; readable on black and on white.
export const COLOURS = ["#ffb000", "#3ec1f0", "#f0609e", "#7bd957", "#b48cff", "#ff7043", "#26c6a9", "#d4d94a", "#f28cdd"];

export class View {
  // `on`: what is told of a person's doing: drawn(xyxy), tooSmall(px), moved(box, xyxy), dragged(box or null, xyxy), chosen(id);
  // with other tools than the box: stroked(points), cornered(), closed(corners, removes).
  constructor(place, on) {
    this.place = place;
    this.picture = place.querySelector("#picture");
    this.overlay = place.querySelector("#overlay");
    this.tools = place.querySelector(".tools");
    this.on = on;
    this.image = null;
    this.boxes = [];
    this.proposals = [];
    this.masks = new Map();
    this.chosen = "";
    this.masksShown = true;
    this.pointers = new Map();
    this.gesture = null;
    this.tool = "box"; // or brush, rubber, polygon
    this.brush = 0; // px of the image
    this.polygon = []; // its corners so far
    this.pointer = null; // where a mouse or pen is over the image
    this.resetWindow();
    new ResizeObserver(() => this.resize()).observe(place);
    this.listen();
  }

  show(number, image, width, height) {
    this.place.dataset.shown = number;
    this.image = image;
    this.grey = null;
    delete this.place.dataset.grey;
    this.size = [width, height];
    this.gesture = null;
    this.fit();
  }

  blank() {
    delete this.place.dataset.shown;
    this.image = null;
    this.boxes = this.proposals = this.polygon = [];
    this.masks.clear();
    this.draw();
  }

  resize() {
    const { width, height } = this.place.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.picture, this.overlay]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.ratio = ratio;
    this.room = [width, height];
    if (this.fitted !== false) this.fit();
    else this.draw();
  }

  fit() {
    this.fitted = true;
    if (!this.image || !this.room) return this.draw();
    this.fitWithin(MARGIN);
    // No box can begin below the buttons.
    const { offsetLeft, offsetTop, offsetWidth } = this.tools;
    const isCovered = this.left < offsetLeft + offsetWidth && this.top + this.size[1] * this.scale > offsetTop;
    if (isCovered) this.fitWithin(this.room[1] - offsetTop + 8);
    this.draw();
  }

  fitWithin(below) {
    const [[across, down], [width, height]] = [this.room, this.size];
    this.scale = Math.min((across - 2 * MARGIN) / width, (down - MARGIN - below) / height);
    this.left = (across - width * this.scale) / 2;
    this.top = MARGIN + (down - MARGIN - below - height * this.scale) / 2;
  }

  zoom(factor, at = [this.room[0] / 2, this.room[1] / 2]) {
    if (!this.image) return;
    const least = 0.5 * Math.min(this.room[0] / this.size[0], this.room[1] / this.size[1]);
    const scale = Math.max(least, Math.min(MOST_ZOOM, this.scale * factor));
    this.left = at[0] - ((at[0] - this.left) * scale) / this.scale;
    this.top = at[1] - ((at[1] - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.draw();
  }

  // `width` and `level`, shares of the range of grey values that is shown at first.
  setWindow(width, level) {
    const most = this.grey ? 40 : 2;
    this.window = { width: Math.max(0.02, Math.min(most, width)), level: Math.max(-most, Math.min(most, level)) };
    if (this.grey) {
      this.paintGrey();
      return this.on?.windowed?.(this.window);
    }
    const slope = 1 / this.window.width;
    const intercept = 0.5 - this.window.level * slope;
    for (const part of document.querySelectorAll("#window feComponentTransfer > *")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", intercept);
    }
    this.picture.classList.toggle("windowed", slope !== 1 || intercept !== 0);
    this.on?.windowed?.(this.window);
  }

  resetWindow() {
    this.setWindow(1, 0.5);
  }

  // From now on the window is of the source's own values.
  setGrey(grey) {
    const { width, level } = this.window;
    this.resetWindow();
    const [columns, rows] = this.size;
    this.grey = { ...grey, canvas: new OffscreenCanvas(columns, rows) };
    this.image = this.grey.canvas;
    this.place.dataset.grey = "own";
    this.setWindow(width, level);
  }

  paintGrey() {
    const { values, low, high, black, white, canvas } = this.grey;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    const table = new Uint8ClampedArray(65536);
    for (let value = 0; value < 65536; value++) {
      const share = (low + (value * (high - low)) / 65535 - black) / (white - black);
      table[value] = 255 * ((share - this.window.level) / this.window.width + 0.5);
    }
    for (let index = 0; index < values.length; index++) {
      pixels.data.fill(table[values[index]], 4 * index, 4 * index + 3);
      pixels.data[4 * index + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    this.draw();
  }

  toImage([x, y]) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  clip([x, y]) {
    return [Math.max(0, Math.min(this.size[0], x)), Math.max(0, Math.min(this.size[1], y))];
  }

  // ---- pointers

  listen() {
    const surface = this.overlay;
    surface.addEventListener("pointerdown", (event) => this.down(event));
    surface.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) surface.addEventListener(kind, (event) => this.up(event));
    surface.addEventListener("pointerleave", () => {
      this.pointer = null;
      if (this.paints) this.draw();
    });
    surface.addEventListener("contextmenu", (event) => event.preventDefault());
    surface.addEventListener("dblclick", () => this.tool === "box" && this.fit());
    surface.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), this.at(event));
      },
      { passive: false },
    );
  }

  at(event) {
    const { left, top } = this.overlay.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  down(event) {
    if (!this.image) return;
    event.preventDefault();
    this.overlay.setPointerCapture(event.pointerId);
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size === 2) {
      const [one, other] = [...this.pointers.values()];
      this.gesture = { kind: "pinch", spread: distance(one, other), middle: between(one, other) };
      return this.draw();
    }
    if (this.pointers.size > 2) return;
    if (event.button === 1 || this.panning) this.gesture = { kind: "pan", at };
    else if (event.button === 2) this.gesture = { kind: "window", at, from: { ...this.window } };
    else if (this.paints) {
      this.gesture = { kind: "stroke", points: [this.clip(this.toImage(at))] };
      this.draw();
    } else if (this.tool === "polygon") this.gesture = { kind: "corner", at };
    else {
      const grip = this.gripAt(at, GRIP_PX[event.pointerType] ?? GRIP_PX.mouse);
      const from = this.clip(this.toImage(at));
      if (grip) this.gesture = { kind: "grip", ...grip, xyxy: [...grip.box.xyxy], start: at, from };
      else this.gesture = { kind: "box", start: at, from };
    }
  }

  move(event) {
    const at = this.at(event);
    if (!this.pointers.has(event.pointerId)) {
      if (this.image && event.pointerType !== "touch") this.hover(at);
      return;
    }
    const before = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, at);
    this.pointer = event.pointerType === "touch" ? null : at;
    const gesture = this.gesture;
    if (!gesture) return;
    if (gesture.kind === "pinch" && this.pointers.size >= 2) {
      const [one, other] = [...this.pointers.values()];
      const [spread, middle] = [distance(one, other), between(one, other)];
      this.zoom(spread / gesture.spread, middle);
      this.pan(middle[0] - gesture.middle[0], middle[1] - gesture.middle[1]);
      Object.assign(gesture, { spread, middle });
    } else if (gesture.kind === "pan") {
      this.pan(at[0] - before[0], at[1] - before[1]);
    } else if (gesture.kind === "window") {
      const [dx, dy] = [at[0] - gesture.at[0], at[1] - gesture.at[1]];
      this.setWindow(gesture.from.width * Math.exp(dx / 250), gesture.from.level + dy / 500);
    } else if (gesture.kind === "stroke") {
      const point = this.clip(this.toImage(at));
      if (distance(point, gesture.points.at(-1)) * this.scale >= STROKE_STEP_PX) gesture.points.push(point);
      this.draw();
    } else if (gesture.kind === "box") {
      gesture.xyxy = span(gesture.from, this.clip(this.toImage(at)));
      if (distance(at, gesture.start) >= CLICK_PX) gesture.drags = true;
      if (gesture.drags && isBox(gesture.xyxy)) this.on.dragged(null, gesture.xyxy);
      this.draw();
    } else if (gesture.kind === "grip") {
      if (distance(at, gesture.start) >= 2) gesture.drags = true;
      this.pull(gesture, at);
      if (gesture.drags && isBox(gesture.xyxy)) this.on.dragged(gesture.anew ? null : gesture.box, gesture.xyxy);
      this.draw();
    }
  }

  up(event) {
    const known = this.pointers.delete(event.pointerId);
    const gesture = this.gesture;
    if (!known || !gesture) return;
    if (gesture.kind === "pinch") {
      if (this.pointers.size === 0) this.gesture = null;
      return;
    }
    this.gesture = null;
    if (event.type === "pointercancel") return this.draw();
    if (gesture.kind === "box") {
      if (gesture.drags && isBox(gesture.xyxy)) this.on.drawn(rounded(gesture.xyxy));
      else if (gesture.drags && this.isSeen(gesture.xyxy)) this.on.tooSmall(LEAST_BOX_PX);
      else this.on.chosen(this.boxAt(this.at(event)));
    } else if (gesture.kind === "stroke") {
      const points = gesture.points.map(rounded);
      // Of a long one each part begins where the one before ends.
      do this.on.stroked(points.splice(0, MOST_POINTS, ...points.slice(MOST_POINTS - 1, MOST_POINTS)));
      while (points.length > 1);
    } else if (gesture.kind === "corner") {
      this.corner(this.at(event), event.altKey);
    } else if (gesture.kind === "grip") {
      if (!gesture.drags || !isBox(gesture.xyxy) || (gesture.anew && this.isFlat(gesture.xyxy))) this.on.chosen(gesture.box.id);
      else if (gesture.anew) this.on.drawn(rounded(gesture.xyxy));
      else this.on.moved(gesture.box, rounded(gesture.xyxy));
    }
    this.draw();
  }

  // One more corner of the polygon; at the first one it is closed.
  corner(at, removes) {
    const first = this.polygon[0];
    if (this.polygon.length > 2 && distance(this.onScreen([...first, ...first]).slice(0, 2), at) < CLOSE_PX) {
      return this.closePolygon(removes);
    }
    if (this.polygon.length < MOST_POINTS) this.polygon.push(this.clip(this.toImage(at)));
    this.on.cornered();
    this.draw();
  }

  closePolygon(removes) {
    const corners = this.polygon.map(rounded);
    this.polygon = [];
    if (corners.length > 2) this.on.closed(corners, removes);
    else this.on.cornered();
    this.draw();
  }

  get paints() {
    return this.tool === "brush" || this.tool === "rubber";
  }

  setBrush(width) {
    this.brush = Math.max(1, Math.min(500, width));
    this.draw();
  }

  // The box whose edge or corner is at a place of the screen, and which sides it moves.
  gripAt(at, near) {
    const all = [...this.proposals, ...this.boxes];
    all.sort((one, other) => (other.id === this.chosen) - (one.id === this.chosen));
    for (const box of all) {
      const [x1, y1, x2, y2] = this.onScreen(box.xyxy);
      if (at[0] < x1 - near || at[0] > x2 + near || at[1] < y1 - near || at[1] > y2 + near) continue;
      // Of a small box the nearer edge moves.
      const left = Math.abs(at[0] - x1) <= near && Math.abs(at[0] - x1) <= Math.abs(at[0] - x2);
      const top = Math.abs(at[1] - y1) <= near && Math.abs(at[1] - y1) <= Math.abs(at[1] - y2);
      const sides = [left, top, !left && Math.abs(at[0] - x2) <= near, !top && Math.abs(at[1] - y2) <= near];
      if (sides.some(Boolean)) return { box, sides };
    }
    return null;
  }

  // What a drag from a side or corner has come to: the box as it is pulled, or across a proposal one drawn anew.
  pull(gesture, at) {
    const { box, sides, start, from } = gesture;
    const by = [(at[0] - start[0]) / this.scale, (at[1] - start[1]) / this.scale];
    gesture.anew = Boolean(box.proposed) && isAcross(box.xyxy, sides, by);
    const moved = box.xyxy.map((side, index) => (sides[index] ? side + by[index % 2] : side));
    const corners = gesture.anew ? [from, this.toImage(at)] : [moved.slice(0, 2), moved.slice(2)];
    gesture.xyxy = span(...corners.map((corner) => this.clip(corner)));
  }

  // Whether what was dragged was large enough on the screen to be meant as a box.
  isSeen([x1, y1, x2, y2]) {
    return Math.min(x2 - x1, y2 - y1) * this.scale >= CLICK_PX;
  }

  // Whether it was a side pulled straight over the other one rather than a box.
  isFlat([x1, y1, x2, y2]) {
    return Math.min(x2 - x1, y2 - y1) * this.scale < GRIP_PX.mouse;
  }

  // The id of the smallest box around a place of the screen.
  boxAt(at) {
    const [x, y] = this.toImage(at);
    const around = this.boxes.filter(({ xyxy: [x1, y1, x2, y2] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2);
    around.sort((one, other) => area(one.xyxy) - area(other.xyxy));
    return around[0]?.id ?? "";
  }

  hover(at) {
    this.pointer = at;
    if (this.paints) this.draw();
    const grip = this.panning ? null : this.gripAt(at, GRIP_PX.mouse);
    let cursor = this.panning ? "grab" : "crosshair";
    if (grip && this.tool === "box") {
      const [left, top, right, bottom] = grip.sides;
      if ((left && top) || (right && bottom)) cursor = "nwse-resize";
      else if ((right && top) || (left && bottom)) cursor = "nesw-resize";
      else cursor = left || right ? "ew-resize" : "ns-resize";
    }
    this.overlay.style.cursor = cursor;
  }

  // ---- drawing

  onScreen([x1, y1, x2, y2]) {
    const { left, top, scale } = this;
    return [left + x1 * scale, top + y1 * scale, left + x2 * scale, top + y2 * scale];
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.drawNow();
    });
  }

  drawNow() {
    const under = this.picture.getContext("2d");
    const over = this.overlay.getContext("2d");
    for (const context of [under, over]) {
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.room[0], this.room[1]);
    }
    if (!this.image) return;
    const [width, height] = this.size;
    under.imageSmoothingEnabled = this.scale < 4;
    under.imageSmoothingQuality = "high";
    under.drawImage(this.image, this.left, this.top, width * this.scale, height * this.scale);
    if (this.masksShown) {
      for (const mask of this.masks.values()) {
        // Which pixels are in it is seen as soon as pixels are.
        over.imageSmoothingEnabled = (width * this.scale) / mask.tinted.width < 4;
        over.drawImage(mask.tinted, this.left, this.top, width * this.scale, height * this.scale);
      }
    }
    const gesture = this.gesture;
    for (const box of this.proposals) {
      if (gesture?.box?.id !== box.id || gesture.anew) this.drawBox(over, box.xyxy, box.colour, { dashed: true });
    }
    for (const box of this.boxes) {
      const xyxy = gesture?.kind === "grip" && gesture.box.id === box.id ? gesture.xyxy : box.xyxy;
      this.drawBox(over, xyxy, box.colour, { chosen: box.id === this.chosen });
    }
    if (gesture?.kind === "grip" && gesture.box.proposed && !gesture.anew) this.drawBox(over, gesture.xyxy, gesture.box.colour, {});
    if ((gesture?.kind === "box" || gesture?.anew) && gesture.drags) this.drawBox(over, gesture.xyxy, this.colour, { chosen: true });
    if (gesture?.kind === "stroke") this.drawLine(over, gesture.points, this.brush * this.scale, "rgba(255,255,255,.45)");
    if (this.polygon.length) {
      this.drawLine(over, this.polygon, 1.5, "#fff");
      for (const corner of this.polygon) this.drawLine(over, [corner, corner], 7, "#fff");
    }
    if (this.paints && this.pointer) this.drawBrush(over);
  }

  // How wide it paints, before it does.
  drawBrush(context) {
    for (const [style, line] of [["rgba(0,0,0,.65)", 3], ["#fff", 1]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.beginPath();
      context.arc(...this.pointer, (this.brush * this.scale) / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  drawLine(context, points, width, style) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    points.forEach(([x, y], index) => {
      const place = [this.left + x * this.scale, this.top + y * this.scale];
      if (index) context.lineTo(...place);
      else context.moveTo(...place);
    });
    if (points.length === 1) context.lineTo(this.left + points[0][0] * this.scale, this.top + points[0][1] * this.scale);
    context.stroke();
    context.lineCap = "butt";
    context.lineJoin = "miter";
  }

  drawBox(context, xyxy, colour, { dashed = false, chosen = false }) {
    const [x1, y1, x2, y2] = this.onScreen(xyxy);
    context.setLineDash(dashed ? [6, 5] : []);
    for (const [style, line] of [
      ["rgba(0,0,0,.65)", 3.5],
      [colour, chosen ? 2 : 1.5],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    context.setLineDash([]);
    if (!chosen) return;
    for (const x of [x1, (x1 + x2) / 2, x2]) {
      for (const y of [y1, (y1 + y2) / 2, y2]) {
        if (x !== (x1 + x2) / 2 || y !== (y1 + y2) / 2) {
          context.fillStyle = "#fff";
          context.strokeStyle = "rgba(0,0,0,.8)";
          context.lineWidth = 1;
          context.beginPath();
          context.rect(x - 3.5, y - 3.5, 7, 7);
          context.fill();
          context.stroke();
        }
      }
    }
  }
}

// The mask in its finding's colour: filled lightly, its outline strong.
export function tint(picture, colour) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data, width, height } = image;
  const inside = new Uint8Array(width * height);
  for (let index = 0; index < inside.length; index++) inside[index] = data[4 * index] > 127;
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  for (let index = 0; index < inside.length; index++) {
    const column = index % width;
    const edge =
      inside[index] &&
      (!(inside[index - 1] && column > 0) ||
        !(inside[index + 1] && column < width - 1) ||
        !inside[index - width] ||
        !inside[index + width]);
    const at = 4 * index;
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
    data[at + 3] = inside[index] ? (edge ? 235 : 70) : 0;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
const between = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
const span = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
// Whether a drag that began at a proposal's side or corner means a box of its own: it takes more of the proposal
// than it leaves, or goes along the side that it would pull.
const isAcross = ([x1, y1, x2, y2], [left, top, right, bottom], [dx, dy]) => {
  const share = (low, high, by, other, size) =>
    (low ? by : high ? -by : 2 * Math.max(0, Math.abs(by) - DRIFT * Math.abs(other))) / size;
  const across = [share(left, right, dx, dy, x2 - x1), share(top, bottom, dy, dx, y2 - y1)];
  return Math.max(...across) > NEARLY_ACROSS || across[0] + across[1] > 1;
};
const isBox = ([x1, y1, x2, y2]) => x2 - x1 >= LEAST_BOX_PX && y2 - y1 >= LEAST_BOX_PX;
export const rounded = (xyxy) => xyxy.map((side) => Math.round(side * 100) / 100);
