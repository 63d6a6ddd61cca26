"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = (theme) => { root.dataset.theme = theme; };
  paint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", (event) => paint(event.matches ? "dark" : "light"));
  const byId = (id) => document.getElementById(id);
  byId("theme").addEventListener("click", () => paint(root.dataset.theme === "dark" ? "light" : "dark"));

  const source = byId("cases");
  if (!source) return;
  const cases = JSON.parse(source.textContent);
  const labels = JSON.parse(byId("labels").textContent);
  const findings = JSON.parse(byId("finding-names").textContent); // none where there is one
  root.classList.toggle("several", findings.length > 0);
  const any = (paths) => (paths || []).some(Boolean);
  const SVG = "http://www.w3.org/2000/svg";
  const LAYERS = [
    { key: "pred", text: "Prediction", has: (item) => any(item.outlines.student) },
    { key: "truth", text: "Truth", has: (item) => any(item.outlines.truth) },
    { key: "drawn", text: "Boxes drawn", has: (item) => any(item.outlines.drawn) },
    { key: "uncertainty", text: "Uncertainty", has: (item) => item.uncertainty },
    { key: "teacher", text: "Teacher", has: (item) => any(item.outlines.teacher) },
    { key: "boxes", text: "Boxes", has: (item) => any(item.outlines.boxes) },
  ].filter((layer) => cases.some(layer.has));
  const state = { layers: new Set(["pred", "truth", "drawn"]), className: "", compare: false, shown: [], open: -1, hidden: new Set() };
  const gallery = byId("gallery"), cards = byId("cards"), viewer = byId("viewer");

  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const svg = (name, attributes = {}, ...children) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // One picture: the image, and a layer for each mask that CSS shows or hides.
  let serial = 0;
  const picture = (item, large) => {
    const box = { x: 0, y: 0, width: item.width, height: item.height };
    const id = `m${serial += 1}`;
    const drawing = svg("svg", { viewBox: `0 0 ${item.width} ${item.height}`, role: "img", "aria-label": item.name });
    drawing.append(svg("image", { ...box, href: item.picture, class: "base", preserveAspectRatio: "none" }));
    if (item.uncertainty) {
      drawing.append(
        svg("mask", { id, maskUnits: "userSpaceOnUse", ...box },
          svg("image", { ...box, href: item.uncertainty, preserveAspectRatio: "none" })),
        svg("rect", { ...box, class: "layer uncertainty", mask: `url(#${id})`, fill: "var(--heat)" }));
    }
    const shapes = [["boxes", "boxes"], ["teacher", "teacher"], ["pred", "student"], ["truth", "truth"], ["drawn", "drawn"]];
    for (const [layer, name] of shapes) {
      (item.outlines[name] || []).forEach((d, place) => {
        if (!d) return;
        const own = findings.length ? ` of-finding f${place}${state.hidden.has(place) ? " off" : ""}` : "";
        drawing.append(svg("path", { d, class: `layer ${layer}${own}`, "data-finding": place }));
      });
    }
    if (large) addWipe(drawing, item, id);
    return drawing;
  };

  // The slider: prediction left of the line, truth right of it.
  const addWipe = (drawing, item, id) => {
    const left = svg("rect", { x: 0, y: 0, height: item.height, width: 0 });
    const right = svg("rect", { x: 0, y: 0, height: item.height, width: 0 });
    const line = svg("line", { y1: 0, y2: item.height });
    drawing.append(svg("clipPath", { id: `${id}l` }, left), svg("clipPath", { id: `${id}r` }, right), line);
    drawing.wipe = (share) => {
      const x = share * item.width;
      left.setAttribute("width", x);
      right.setAttribute("x", x);
      right.setAttribute("width", item.width - x);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      line.style.display = state.compare ? "" : "none";
      for (const [layer, side] of [["pred", "l"], ["truth", "r"]]) {
        for (const path of drawing.querySelectorAll(`path.${layer}`)) {
          if (state.compare) path.setAttribute("clip-path", `url(#${id}${side})`);
          else path.removeAttribute("clip-path");
        }
      }
    };
    drawing.addEventListener("pointermove", (event) => {
      if (!state.compare || !(event.buttons || event.pointerType === "mouse")) return;
      const frame = drawing.getBoundingClientRect();
      const scale = Math.min(frame.width / item.width, frame.height / item.height);
      const start = frame.left + (frame.width - item.width * scale) / 2;
      setWipe(Math.min(1, Math.max(0, (event.clientX - start) / (item.width * scale))));
    });
  };
  const setWipe = (share) => {
    byId("v-wipe").value = String(Math.round(share * 100));
    byId("stage").firstChild.wipe(share);
  };

  const diceOf = (item) => item.dice;
  const verdict = (item) => {
    // Of several findings one may be missed where another is found: the Dice tells more.
    if (!findings.length && item.missed) return "missed";
    if (!findings.length && item.false_alarm) return "false alarm";
    return diceOf(item) === null ? "" : diceOf(item).toFixed(3);
  };
  const built = new Map(cases.map((item) => {
    const caption = el("span", { class: "caption" }, el("span", {}, item.name), el("b", {}, verdict(item)));
    if ((!findings.length && (item.missed || item.false_alarm)) || (diceOf(item) !== null && diceOf(item) < 0.5)) caption.lastChild.className = "bad";
    const node = el("button", { type: "button", class: "item", "data-id": item.id, title: item.name },
      el("span", { class: "frame" }, picture(item, false)), caption);
    node.addEventListener("click", () => open(state.shown.indexOf(item)));
    return [item.id, node];
  }));

  const ORDERS = {
    worst: (a, b) => (diceOf(a) ?? 2) - (diceOf(b) ?? 2),
    best: (a, b) => (diceOf(b) ?? -1) - (diceOf(a) ?? -1),
    small: (a, b) => a.true_px - b.true_px,
    name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  };
  const OUTCOMES = {
    "": () => true,
    low: (item) => diceOf(item) !== null && diceOf(item) < 0.5,
    missed: (item) => item.missed,
    false: (item) => item.false_alarm,
    confused: (item) => item.confused,
  };
  const ofFinding = (item) => {
    const chosen = byId("finding") ? byId("finding").value : "";
    return chosen === "" || item.findings.includes(Number(chosen));
  };
  const refresh = () => {
    const words = byId("search").value.trim().toLowerCase();
    state.shown = cases
      .filter((item) => !state.className || item.class_name === state.className)
      .filter(OUTCOMES[byId("outcome").value])
      .filter(ofFinding)
      .filter((item) => item.name.toLowerCase().includes(words))
      .sort(ORDERS[byId("sort").value]);
    cards.replaceChildren(...state.shown.map((item) => built.get(item.id)));
    if (!state.shown.length) cards.append(el("p", { class: "empty" }, "No case fits these filters."));
    byId("count").textContent = `${state.shown.length} of ${cases.length} shown`;
  };

  const toggles = [];
  const showLayers = () => {
    for (const node of [gallery, viewer]) {
      for (const layer of LAYERS) node.classList.toggle(`show-${layer.key}`, state.layers.has(layer.key));
    }
    for (const [key, button] of toggles) {
      button.setAttribute("aria-pressed", key === "compare" ? state.compare : state.layers.has(key));
    }
    viewer.classList.toggle("compare", state.compare);
    byId("v-wipe-label").hidden = !state.compare;
    if (state.compare) viewer.classList.add("show-pred", "show-truth");
    const drawing = byId("stage").firstChild;
    if (drawing) drawing.wipe(byId("v-wipe").value / 100);
  };
  const toggleLayer = (key) => {
    if (!state.layers.delete(key)) state.layers.add(key);
    showLayers();
  };
  const plain = () => { state.layers.clear(); state.compare = false; showLayers(); };
  const toggleCompare = () => { state.compare = !state.compare; showLayers(); };
  for (const place of ["layers", "v-layers"]) {
    for (const layer of LAYERS) {
      const button = el("button", { type: "button", "data-layer": layer.key }, el("i", { class: layer.key }), layer.text);
      button.addEventListener("click", () => toggleLayer(layer.key));
      toggles.push([layer.key, button]);
      byId(place).append(button);
    }
  }
  const canCompare = cases.some((item) => item.outlines.truth);
  if (canCompare) {
    const button = el("button", { type: "button", "data-layer": "compare" }, "Slider");
    button.addEventListener("click", toggleCompare);
    toggles.push(["compare", button]);
    byId("v-layers").append(button);
  }

  const names = [...new Set(cases.map((item) => item.class_name).filter(Boolean))].sort();
  const chips = byId("classes");
  if (chips) {
    for (const name of ["", ...names]) {
      const button = el("button", { type: "button", "data-class": name, "aria-pressed": name === "" }, name || "all classes");
      button.addEventListener("click", () => {
        state.className = name;
        for (const other of chips.children) other.setAttribute("aria-pressed", other.dataset.class === name);
        refresh();
      });
      chips.append(button);
    }
  }
  findings.forEach((name, place) => {
    const button = el("button", { type: "button", "aria-pressed": true, class: `f${place}` }, el("i", { class: "of-finding" }), name);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(place)) state.hidden.add(place);
      const off = state.hidden.has(place);
      button.setAttribute("aria-pressed", !off);
      for (const node of built.values()) for (const path of node.querySelectorAll(`[data-finding="${place}"]`)) path.classList.toggle("off", off);
    });
    byId("finding-chips").append(button);
  });
  for (const id of ["outcome", "sort", "finding"]) if (byId(id)) byId(id).addEventListener("change", refresh);
  byId("search").addEventListener("input", refresh);
  byId("strength").addEventListener("input", (event) => root.style.setProperty("--strength", event.target.value / 100));
  byId("v-wipe").addEventListener("input", (event) => setWipe(event.target.value / 100));

  const scoreRows = (item) => item.scores.flatMap((scores, index) => {
    const label = [el("span", { class: `key ${scores.method}` }), labels[scores.method] || scores.method];
    const numbers = scores.empty && findings.length
      ? [el("td", { colspan: 2 }, "not there, not found")]
      : [el("td", {}, scores.dice.toFixed(3)), el("td", {}, scores.hd95_px.toFixed(1))];
    if (!findings.length) return [el("tr", {}, el("th", { scope: "row" }, ...label), ...numbers)];
    const first = !index || item.scores[index - 1].method !== scores.method;
    const head = first ? [el("tr", { class: "of-method" }, el("th", { colspan: 3, scope: "rowgroup" }, ...label))] : [];
    const name = el("th", { scope: "row" }, el("span", { class: `swatch f${scores.finding}` }), findings[scores.finding]);
    return [...head, el("tr", {}, name, ...numbers)];
  });

  const open = (place) => {
    if (place < 0 || place >= state.shown.length) return;
    state.open = place;
    const item = state.shown[place];
    byId("stage").replaceChildren(picture(item, true));
    byId("v-name").textContent = item.name;
    byId("v-class").textContent = [item.class_name, item.true_px ? `lesion ${item.true_px} px` : "", verdict(item).replace(/^[\d.]+$/, ""), item.confused ? "taken for another finding" : ""].filter(Boolean).join(" · ");
    byId("v-scores").replaceChildren(...scoreRows(item));
    byId("v-place").textContent = `${place + 1} / ${state.shown.length}`;
    byId("v-previous").disabled = place === 0;
    byId("v-next").disabled = place === state.shown.length - 1;
    if (!viewer.open) viewer.showModal();
    showLayers();
  };
  const close = () => viewer.close();
  byId("v-previous").addEventListener("click", () => open(state.open - 1));
  byId("v-next").addEventListener("click", () => open(state.open + 1));
  byId("v-close").addEventListener("click", close);
  viewer.addEventListener("click", (event) => { if (event.target === viewer) close(); });
  viewer.addEventListener("close", () => {
    const item = state.shown[state.open];
    if (item) built.get(item.id).focus();
  });

  // Arrow keys walk the cards (up and down by a row), or the cases in the viewer.
  const walk = (key) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (viewer.open) { if (step) open(state.open + step); return Boolean(step); }
    const focused = document.activeElement.closest ? document.activeElement.closest(".item") : null;
    if (!focused) return false;
    const all = [...cards.children];
    const columns = all.filter((node) => node.offsetTop === all[0].offsetTop).length;
    const move = step || { ArrowUp: -columns, ArrowDown: columns }[key];
    const next = all[all.indexOf(focused) + move];
    if (next) next.focus();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const layer = LAYERS[Number(event.key) - 2];
    if (event.key.startsWith("Arrow")) { if (walk(event.key)) event.preventDefault(); }
    else if (event.key === "1") plain();
    else if (layer) toggleLayer(layer.key);
    else if (event.key.toLowerCase() === "c" && viewer.open && canCompare) toggleCompare();
    else if (event.key === "/" && !viewer.open) { event.preventDefault(); byId("search").focus(); }
  });

  refresh();
  showLayers();
})();
