// Settling masks: the student's is shown; it is accepted, or corrected by boxes that the teacher answers, strokes
// and polygons. What was drawn is sent, and the server says what mask it makes.

import { askPicture } from "/page/server.js";
import { lastAudit } from "/page/state.js";
import { tint } from "/page/view.js";

const COLOUR = "#ffb000";
const STUDENT = "student";
const TOOLS = { b: "box", p: "brush", r: "rubber", g: "polygon" };
const STEP = 1.25;
const MOST_EDITS = 200;

// Corrections that were drawn and not taken, by image: neither the next image nor a reload loses one.
class Drafts {
  constructor(key) {
    this.slot = `meddistill-draft-${key}/`;
    this.kept = new Map();
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(this.slot)) continue;
      try {
        const { edits, polygon } = JSON.parse(localStorage.getItem(name));
        this.kept.set(name.slice(this.slot.length), { edits: [...edits], polygon: [...polygon] });
      } catch {
        // not ours
      }
    }
  }

  // `draft`: { edits, polygon }, or null for none.
  keep(name, draft) {
    if (draft) this.kept.set(name, draft);
    else this.kept.delete(name);
    try {
      if (draft) localStorage.setItem(this.slot + name, JSON.stringify(draft));
      else localStorage.removeItem(this.slot + name);
    } catch {
      // no room or not allowed: it is kept in memory alone
    }
  }
}

export class Audit {
  // `page`: what the page does: act(action), next(), undo(), redo(), tell(text, bad), changed(), current(),
  // student(): tells the one that is there from others. `key`: of the RUN.
  constructor(view, page, key) {
    Object.assign(this, { view, page, edits: [], popped: [], saved: "[]", turn: 0 });
    this.drafts = new Drafts(key);
    document.body.dataset.mode = "audit";
    view.brush = 0;
    view.overlay.setAttribute("aria-label", "Image with the student's mask; drag to correct it");
    this.width = document.getElementById("brush");
    this.width.addEventListener("input", () => view.setBrush(Number(this.width.value)));
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.take(button.dataset.tool));
    }
    for (const button of document.querySelectorAll("[data-audit]")) {
      button.addEventListener("click", () => page.current() && this[button.dataset.audit]());
    }
    this.take("box");
  }

  show(image) {
    const least = Math.min(image.width, image.height);
    this.width.max = Math.max(8, Math.round(least / 4));
    this.setBrush(this.view.brush || Math.max(2, Math.round(least / 24)));
    this.view.polygon = this.drafts.kept.get(image.name)?.polygon ?? [];
    this.follow();
    if (this.view.polygon.length) this.take("polygon");
  }

  // After an action of this or another tab, or an undo: what is settled now. What is drawn over it stays.
  follow() {
    const { actions, name } = this.page.current();
    this.settled = lastAudit(actions);
    const settled = this.settled?.audit.edits ?? [];
    this.saved = JSON.stringify(settled);
    this.edits = [...(this.drafts.kept.get(name)?.edits ?? settled)];
    this.popped = [];
    this.ask();
  }

  get isChanged() {
    return JSON.stringify(this.edits) !== this.saved;
  }

  // Whether something is drawn that was not taken.
  get isOpen() {
    return this.isChanged || this.view.polygon.length > 0;
  }

  // Of what was drawn: how much, in words.
  get corrections() {
    return this.edits.length === 1 ? "one correction" : `${this.edits.length} corrections`;
  }

  // What is drawn and not taken, in words.
  get drawn() {
    return this.isChanged ? this.corrections : "an open polygon";
  }

  // The number of another image on which something is drawn that was not taken; undefined for none.
  draftBeside(names, number) {
    const found = names.findIndex((name, index) => index !== number && this.drafts.kept.has(name));
    return found < 0 ? undefined : found;
  }

  // What the server would not save is a draft again, unless something was drawn there since.
  refused({ name, audit }) {
    if (audit?.edits.length && !this.drafts.kept.has(name)) this.drafts.keep(name, { edits: audit.edits, polygon: [] });
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
    if (this.edits.length >= MOST_EDITS) {
      this.page.tell(`a mask takes at most ${MOST_EDITS} corrections; Z undoes one`, true);
      return;
    }
    this.edits.push(edit);
    this.popped = [];
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

  // The mask that is shown, with what was drawn on it.
  accept() {
    if (!this.view.masks.has(STUDENT)) return this.page.tell("the mask is not shown yet: look at it first", true);
    if (this.view.polygon.length) return this.page.tell("the polygon is open: Enter closes it, Esc drops it", true);
    if (this.settled && !this.isChanged) return this.page.next();
    this.settle();
  }

  empty() {
    this.view.polygon = [];
    this.edits = [{ kind: "clear", take: "add", points: [] }];
    this.settle();
  }

  // What was corrected counts from now on; without a correction the next image is shown.
  save() {
    if (this.view.polygon.length) return this.view.closePolygon(false);
    if (!this.isChanged) return this.page.next();
    this.settle();
  }

  settle() {
    const edits = this.edits.map(({ kind, take, points, width }) => ({ kind, take, points, width: width ?? 0 }));
    const { name } = this.page.current();
    this.page.act({ do: "audit", name, audit: { edits, student: this.student ?? "" } });
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
    } else if (this.isChanged) {
      // Without one left: somebody else settled the mask meanwhile.
      if (this.edits.length) this.popped.push(this.edits.pop());
      else this.edits = JSON.parse(this.saved);
      this.ask();
    } else {
      this.page.undo();
    }
  }

  redo() {
    if (!this.popped.length) return this.page.redo();
    this.edits.push(this.popped.pop());
    this.ask();
  }

  take(tool) {
    this.view.tool = tool;
    this.width.closest("label").hidden = tool !== "brush" && tool !== "rubber";
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
    else if (key === "[" || key === "]") this.setBrush(this.view.brush * (key === "]" ? STEP : 1 / STEP));
    else if (key === "Escape") this.dropPolygon();
    else return ["u", "s", "Delete", "Backspace"].includes(key) || /^[1-9]$/.test(key);
    return true;
  }

  setBrush(width) {
    this.view.setBrush(width);
    this.width.value = this.view.brush;
  }

  dropPolygon() {
    this.view.polygon = [];
    this.tellState();
    this.view.draw();
  }

  // How it stands, and what Enter does now.
  tellState() {
    const shown = this.page.current();
    if (shown) this.drafts.keep(shown.name, this.isOpen ? { edits: this.edits, polygon: this.view.polygon } : null);
    const changed = this.isChanged;
    const open = this.view.polygon.length > 0;
    const enter = open ? "polygon" : changed ? "save" : "next";
    document.body.dataset.enter = enter;
    document.querySelector("[data-do=next]").title = `Next to look at (${enter === "next" ? "Enter" : "N"})`;
    const { corrections } = this;
    let text = "Not settled yet.";
    if (open) text = "Enter closes the polygon.";
    else if (changed) text = `${corrections}: Enter takes ${this.edits.length === 1 ? "it" : "them"}.`;
    else if (this.settled) text = this.edits.length ? `Settled with ${corrections}.` : "Accepted as it is.";
    document.getElementById("settled").textContent = text;
    this.page.changed();
  }
}

// What the settled masks say of the student so far.
export function resultText(result) {
  if (!result) return "No mask is settled yet.";
  const interval = result.ci95 ? ` (${result.ci95.map((end) => end.toFixed(2)).join(" to ")})` : "";
  return `Dice of the student ${result.dice.toFixed(2)}${interval}, ${result.n} settled.`;
}
