// All images in a row, of which only those in sight are there: ten thousand cost no more than twenty.

const STEP_PX = 76;
const BEYOND = 6;

export class Strip {
  constructor(place, choose) {
    this.place = place;
    this.choose = choose;
    this.row = document.createElement("div");
    this.row.className = "row";
    place.append(this.row);
    this.shown = new Map();
    this.count = 0;
    this.statuses = "";
    this.current = -1;
    place.addEventListener("scroll", () => this.draw(), { passive: true });
    place.addEventListener(
      "wheel",
      (event) => {
        if (!event.deltaX) place.scrollLeft += event.deltaY;
      },
      { passive: true },
    );
    new ResizeObserver(() => this.draw()).observe(place);
  }

  fill(names, splits) {
    Object.assign(this, { names, splits, count: names.length });
    this.row.style.width = `${this.count * STEP_PX}px`;
    this.draw();
  }

  setStatuses(statuses) {
    this.statuses = statuses;
    for (const [number, tile] of this.shown) this.mark(number, tile);
  }

  go(number) {
    this.current = number;
    const middle = number * STEP_PX - (this.place.clientWidth - STEP_PX) / 2;
    if (Math.abs(this.place.scrollLeft - middle) > 1) this.place.scrollLeft = middle;
    for (const [shown, tile] of this.shown) this.mark(shown, tile);
    this.draw();
  }

  mark(number, tile) {
    tile.dataset.status = this.statuses[number] ?? "o";
    tile.toggleAttribute("aria-current", number === this.current);
    if (number === this.current) tile.setAttribute("aria-current", "true");
  }

  draw() {
    const first = Math.max(0, Math.floor(this.place.scrollLeft / STEP_PX) - BEYOND);
    const last = Math.min(this.count, Math.ceil((this.place.scrollLeft + this.place.clientWidth) / STEP_PX) + BEYOND);
    for (const [number, tile] of this.shown) {
      if (number < first || number >= last) {
        tile.remove();
        this.shown.delete(number);
      }
    }
    for (let number = first; number < last; number++) {
      if (!this.shown.has(number)) this.add(number);
    }
  }

  add(number) {
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "tile";
    tile.tabIndex = -1;
    tile.title = this.names[number];
    tile.style.left = `${number * STEP_PX}px`;
    tile.dataset.split = this.splits[number];
    const picture = document.createElement("img");
    picture.alt = this.names[number];
    picture.decoding = "async";
    picture.draggable = false;
    picture.addEventListener("error", () => tile.classList.add("broken"));
    tile.append(picture);
    tile.addEventListener("click", () => this.choose(number));
    this.shown.set(number, tile);
    this.mark(number, tile);
    this.row.append(tile);
    // Scrolled past in a moment, it need not be loaded.
    setTimeout(() => {
      if (this.shown.get(number) === tile) picture.src = `/api/images/${number}/thumbnail`;
    }, 60);
  }
}
