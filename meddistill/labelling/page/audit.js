// Settling masks: the student's is shown; it is accepted, or corrected by boxes that the teacher answers, strokes
// and polygons. What was drawn is sent, and the server says what mask it makes.

import { askPicture } from "/page/server.js";
import { lastAudit } from "/page/state.js";
import { tint } from "/page/view.js";

const COLOUR = "#ffb000";
const STUDENT = "student";
const TOOLS = { b: "box", p: "brush", r: "rubber", g: "polygon" };
const STEP = 1.25;

export class Audit {
  // `page`: what the page does: act(action), next(), undo(), redo(), tell(text, bad), current(),
  // student(): tells the one that is there from others.
  constructor(view, page) {
    Object.assign(this, { view, page, edits: [], saved: "[]", turn: 0 });
    document.body.dataset.mode = "audit";
    view.brush = 0;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.take(button.dataset.tool));
    }
    for (const button of document.querySelectorAll("[data-audit]")) {
      button.addEventListener("click", () => this[button.dataset.audit]());
    }
    this.take("box");
  }

  show(image) {
    if (!this.view.brush) this.view.brush = Math.max(2, Math.round(Math.min(image.width, image.height) / 24));
    this.view.polygon = [];
    this.follow();
  }

  // After an action of this or another tab, or an undo: what is settled now.
  follow() {
    const settled = lastAudit(this.page.current().actions);
    this.settled = settled;
    this.edits = [...(settled?.audit.edits ?? [])];
    this.saved = JSON.stringify(this.edits);
    this.ask();
  }

  async ask() {
    const turn = ++this.turn;
    this.asking?.abort();
    this.asking = new AbortController();
    const { number } = this.page.current();
    const student = this.page.student();
    this.tellState();
    try {
      const picture = await askPicture(`/api/images/${number}/edited`, { edits: this.edits }, this.asking.signal);
      if (turn !== this.turn || this.page.current()?.number !== number) return;
      this.student = student;
      this.view.masks.set(STUDENT, { tinted: tint(picture, COLOUR) });
      this.view.draw();
    } catch (error) {
      if (turn === this.turn) this.page.tell(`no mask: ${error.message}`, true);
    }
  }

  add(edit) {
    this.edits.push(edit);
    this.ask();
  }

  boxed(points) {
    this.add({ kind: "box", take: this.edits.length ? "add" : "replace", points });
  }

  stroked(points) {
    const take = this.view.tool === "rubber" ? "remove" : "add";
    this.add({ kind: "stroke", take, points: points.flat(), width: this.view.brush });
  }

  closed(points, removes) {
    this.add({ kind: "polygon", take: removes ? "remove" : "add", points: points.flat() });
  }

  accept() {
    if (!this.view.masks.has(STUDENT)) return this.page.tell("the mask is not shown yet: look at it first", true);
    this.edits = [];
    this.settle();
  }

  empty() {
    this.edits = [{ kind: "clear", take: "add", points: [] }];
    this.settle();
  }

  // What was corrected counts from now on; without a correction the next image is shown.
  save() {
    if (this.view.polygon.length) return this.view.closePolygon(false);
    if (JSON.stringify(this.edits) === this.saved) return this.page.next();
    this.settle();
  }

  settle() {
    const edits = this.edits.map(({ kind, take, points, width }) => ({ kind, take, points, width: width ?? 0 }));
    this.page.act({ do: "audit", audit: { edits, student: this.student ?? "" } });
    this.settled = lastAudit(this.page.current().actions);
    this.saved = JSON.stringify(this.edits);
    this.ask();
    this.page.next();
  }

  undo() {
    if (this.view.polygon.length) {
      this.view.polygon.pop();
      this.tellState();
      this.view.draw();
    } else if (JSON.stringify(this.edits) !== this.saved) {
      this.edits.pop();
      this.ask();
    } else {
      this.page.undo();
    }
  }

  redo() {
    this.page.redo();
  }

  take(tool) {
    this.view.tool = tool;
    this.view.polygon = [];
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
    this.tellState();
    this.view.draw();
  }

  // Whether the key was for here.
  key(key, event) {
    if (TOOLS[key]) this.take(TOOLS[key]);
    else if (key === "a") this.accept();
    else if (key === "e") this.empty();
    else if (key === "Enter") this.save();
    else if (key === "z" && event.shiftKey) this.redo();
    else if (key === "z") this.undo();
    else if (key === "y") this.redo();
    else if (key === "[" || key === "]") this.view.setBrush(this.view.brush * (key === "]" ? STEP : 1 / STEP));
    else if (key === "Escape") this.take(this.view.tool);
    else return ["u", "s", "Delete", "Backspace"].includes(key) || /^[1-9]$/.test(key);
    return true;
  }

  // How it stands, and what Enter does now.
  tellState() {
    const changed = JSON.stringify(this.edits) !== this.saved;
    const open = this.view.polygon.length > 0;
    const enter = open ? "polygon" : changed ? "save" : "next";
    document.body.dataset.enter = enter;
    document.querySelector("[data-do=next]").title = `Next to look at (${enter === "next" ? "Enter" : "N"})`;
    const corrections = this.edits.length === 1 ? "one correction" : `${this.edits.length} corrections`;
    let text = "Not settled yet.";
    if (open) text = "Enter closes the polygon.";
    else if (changed) text = `${corrections}: Enter takes them.`;
    else if (this.settled) text = this.edits.length ? `Settled with ${corrections}.` : "Accepted as it is.";
    document.getElementById("settled").textContent = text;
  }
}

// What the settled masks say of the student so far.
export function resultText(result) {
  if (!result) return "No mask is settled yet.";
  const interval = result.ci95 ? ` (${result.ci95.map((end) => end.toFixed(2)).join(" to ")})` : "";
  return `Dice of the student ${result.dice.toFixed(2)}${interval}, ${result.n} settled.`;
}
