// The sheet: small pictures of where student and teacher disagree, the worst first; a click goes there.

import { ask } from "/page/server.js";

const ASK_MS = 2000;
const MOST = 120;

export class Sheet {
  // `page`: choose(row), names(), findings(), tell(text).
  constructor(place, page) {
    Object.assign(this, { place, page, rows: [], of: 0, student: "", most: MOST });
    this.grid = place.querySelector(".grid");
    this.tiles = new Map();
    for (const id of ["sheet-finding", "sheet-status", "sheet-trust"]) {
      document.getElementById(id).addEventListener("input", () => this.draw());
    }
    document.getElementById("sheet-more").addEventListener("click", () => {
      this.most += MOST;
      this.draw();
    });
    document.getElementById("sheet-close").addEventListener("click", () => this.close());
  }

  get isOpen() {
    return !this.place.hidden;
  }

  open() {
    const choice = document.getElementById("sheet-finding");
    if (choice.options.length === 1) for (const name of this.page.findings()) choice.append(new Option(name, name));
    choice.closest("label").hidden = this.page.findings().length < 2;
    this.place.hidden = false;
    document.getElementById("sheet-trust").focus();
    this.ask();
  }

  close() {
    this.place.hidden = true;
    clearTimeout(this.timer);
  }

  async ask() {
    clearTimeout(this.timer);
    if (!this.isOpen) return;
    try {
      const { student, rows, of } = await ask("/api/review");
      if (student !== this.student) this.forget();
      Object.assign(this, { student, rows, of });
      this.draw();
    } catch {
      // asked again soon
    }
    this.timer = setTimeout(() => this.ask(), ASK_MS);
  }

  forget() {
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  chosen() {
    const finding = document.getElementById("sheet-finding").value;
    const status = document.getElementById("sheet-status").value;
    const trust = Number(document.getElementById("sheet-trust").value) / 100;
    document.getElementById("sheet-trust-text").textContent = trust < 1 ? `below ${trust.toFixed(2)}` : "any";
    return this.rows.filter(
      (row) =>
        (!finding || row.findings.includes(finding)) &&
        (!status || row.status === status) &&
        (trust >= 1 || (row.trust ?? 0) < trust),
    );
  }

  draw() {
    const chosen = this.chosen();
    const shown = chosen.slice(0, this.most);
    const numbers = new Set(shown.map((row) => row.number));
    for (const [number, tile] of this.tiles) {
      if (!numbers.has(number)) {
        tile.remove();
        this.tiles.delete(number);
      }
    }
    shown.forEach((row, place) => {
      const tile = this.tiles.get(row.number) ?? this.add(row);
      tile.row = row;
      tile.style.order = place;
      tile.dataset.status = row.status[0];
      tile.querySelector("small").textContent = `${row.agreement === null ? "student finds nothing" : `agree ${row.agreement.toFixed(2)}`}${row.trust === null ? "" : `, trust ${row.trust.toFixed(2)}`}`;
    });
    document.getElementById("sheet-count").textContent = `${chosen.length} of ${this.rows.length} compared; ${this.of} images`;
    document.getElementById("sheet-more").hidden = chosen.length <= this.most;
    document.getElementById("sheet-none").hidden = chosen.length > 0;
  }

  add(row) {
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "card";
    const name = this.page.names()[row.number];
    const picture = document.createElement("img");
    picture.alt = name;
    picture.loading = "lazy";
    picture.draggable = false;
    picture.src = `/api/images/${row.number}/tile?student=${this.student}`;
    const title = document.createElement("span");
    title.textContent = name;
    tile.append(picture, title, document.createElement("small"));
    tile.addEventListener("click", () => {
      this.close();
      this.page.choose(tile.row);
    });
    this.tiles.set(row.number, tile);
    this.grid.append(tile);
    return tile;
  }
}
