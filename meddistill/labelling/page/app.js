// The page: what is shown, and what a person's hands and keys do.

import { Audit, resultText } from "/page/audit.js";
import { NO_CONNECTION, Outbox, Refused, ask, askGrey, askMask, askPicture, belongTo, tell } from "/page/server.js";
import { LETTERS, derive, lastAudit, statusOf, undoable } from "/page/state.js";
import { Sheet } from "/page/sheet.js";
import { Strip } from "/page/strip.js";
import { COLOURS, View, rounded, tint } from "/page/view.js";

const $ = (id) => document.getElementById(id);
const NEWS_MS = 2500;
const NUDGE_WAIT_MS = 500;
const PAN_PX = 80;
const STUDENT_COLOUR = "#ffffff";
const STOPS = [20, 50, 100, 200, 500, 1000];
const SPLITS = { train: "training", val: "validation", test: "test: trains nothing" };
const SOURCES = { given: "given", drawn: "drawn", accepted: "accepted", corrected: "corrected" };

let about = null; // the RUN: names, findings, statuses
let current = null; // the image that is shown: { number, image, actions, state, ... }
let outbox = null;
let finding = "";
let upcoming = null; // the image that comes next, fetched ahead
const numbers = new Map(); // of the images that were shown
let trail = []; // numbers of the images that actions were done to
let trailBack = [];
let showing = 0;
let leaving = new AbortController(); // ends what is still being asked about the image that is shown
let audit = null; // where masks are settled instead of boxes drawn

const view = new View($("view"), {
  drawn: (xyxy) => (audit ? audit.boxed(xyxy) : draw(xyxy, finding, current.review ? "corrected" : "drawn")),
  tooSmall: (least) => tellPerson(`too small: a box is at least ${least} px of the image wide and high`, true),
  stroked: (points) => audit.stroked(points),
  cornered: () => audit.tellState(),
  closed: (corners, removes) => audit.closed(corners, removes),
  moved: (box, xyxy) => (box.proposed ? draw(xyxy, box.finding, "corrected", box.id) : move(box, xyxy)),
  dragged: (box, xyxy) => !audit && maskSoon(box?.proposed || !box ? "drag" : box.id, xyxy, colourOf(box?.finding ?? finding)),
  chosen: (id) => choose(id),
  windowed: ({ width, level }) => {
    askOriginal();
    $("width").value = Math.round(width * 100);
    $("level").value = Math.round(level * 100);
  },
});
const sheet = new Sheet($("sheet"), {
  choose: (row) => show(row.number, row),
  names: () => about.names,
  findings: () => about.findings,
});
const strip = new Strip($("strip"), (number) => show(number));

// ---- beginning

async function begin() {
  chooseTheme(localStorage.getItem("meddistill-theme"));
  try {
    about = await ask("/api/session");
  } catch (error) {
    say(error instanceof Refused ? error.message : "no connection to the server; reload the page once it runs");
    return;
  }
  belongTo(about.start);
  document.title = `${about.run}: ${about.mode}`;
  outbox = new Outbox(about.key, { onSaved, onRefused, onChange: showSaved });
  if (about.mode === "audit") {
    const told = { current: () => current, student: () => about.student };
    audit = new Audit(view, { act, undo, redo, next: goNext, tell: tellPerson, changed: showSaved, ...told }, about.key);
  }
  finding = about.findings[0];
  about.statuses = [...about.statuses];
  strip.fill(about.names, about.splits);
  strip.setStatuses(about.statuses);
  fillFindings();
  for (const name of about.orders) $("order").append(new Option(name, name, false, name === about.order));
  $("onward").checked = localStorage.getItem("meddistill-onward") === "yes";
  showNews(about);
  showSaved();
  outbox.send();
  const asked = Number.parseInt(location.hash.slice(1), 10) - 1;
  const first = asked >= 0 && asked < about.names.length ? asked : ((await nextNumber(-1)) ?? 0);
  await show(first);
  setInterval(askNews, NEWS_MS);
}

function fillFindings() {
  $("findings").replaceChildren(
    ...about.findings.map((name, index) => {
      const button = element("button", { type: "button", className: "finding" });
      const key = index < 9 ? element("kbd", {}, String(index + 1)) : "";
      button.append(swatch(colourOf(name)), element("span", { className: "named" }, name), element("small", {}), key);
      button.addEventListener("click", () => nameFinding(name));
      return button;
    }),
  );
}

// ---- an image

async function show(number, review = null) {
  if (!about || number < 0 || number >= about.names.length) return;
  flushNudge();
  if (audit?.isOpen && current && current.number !== number) {
    tellPerson(`${current.name}: ${audit.drawn} kept, not taken`);
  }
  const turn = ++showing;
  leaving.abort();
  leaving = new AbortController();
  masks.asked.clear();
  strip.go(number);
  history.replaceState(null, "", `#${number + 1}`);
  const where = `${number + 1} of ${about.names.length}`;
  let there = upcoming?.number === number ? upcoming : null;
  upcoming = null;
  try {
    there ??= fetchImage(number);
    const [image, picture] = await Promise.all([there.image, there.picture]);
    if (turn !== showing) return;
    current = { ...image, picture, review, proposed: [], replaced: new Map() };
    numbers.set(image.image, number);
    showName(number, where);
  } catch {
    const problem = await there.image.then(() => null, (failed) => failed);
    if (turn !== showing) return;
    current = null;
    showName(number, where);
    view.blank();
    showState();
    say(whyNotShown(problem));
    return;
  }
  say("");
  view.chosen = "";
  view.masks.clear();
  if (current.volume) $("place").textContent = `${where}, slice ${current.volume.place} of ${current.volume.of}`;
  const split = $("split");
  split.textContent = SPLITS[current.split];
  split.classList.toggle("test", current.split === "test");
  current.actions = withWaiting(current.image, current.actions);
  view.show(number, current.picture, current.width, current.height);
  if (view.window.width !== 1 || view.window.level !== 0.5) askOriginal();
  update();
  if (audit) audit.show(current);
  else askTeacher();
  if (review) showStudent(review);
  fetchAhead(number);
}

// With the picture, not before: whoever draws meanwhile draws on the one that is shown.
function showName(number, where) {
  $("name").textContent = about.names[number];
  $("place").textContent = where;
}

// `problem`: of what is told of an image; null where its pixels alone are missing.
function whyNotShown(problem) {
  if (!problem || [404, 422].includes(problem.status)) return "this image cannot be read; go on to the next";
  return problem instanceof Refused ? problem.message : "no connection: this image is shown when it is back";
}

// What the student makes of it: its mask, and where nobody has looked its boxes as proposals.
async function showStudent({ number, boxes }) {
  const { signal } = leaving;
  try {
    const picture = await askPicture(`/api/images/${number}/student`, null, signal);
    if (current?.number !== number) return;
    view.masks.set("student", { tinted: tint(picture, STUDENT_COLOUR) });
    if (!current.state.boxes.length && about.findings.length === 1) {
      const [name] = about.findings;
      current.proposed = boxes.map((xyxy) => ({ xyxy, finding: name }));
    }
    showProposals();
    showState();
  } catch (error) {
    if (!signal.aborted) tellPerson(`no mask of the student: ${error.message}`, true);
  }
}

function fetchImage(number) {
  return { number, image: ask(`/api/images/${number}`), picture: loadPicture(number) };
}

// More grey values than are shown, once somebody changes the window.
async function askOriginal() {
  if (!about?.originals || !current || current.original) return;
  const of = current;
  of.original = true;
  try {
    const grey = await askGrey(of.number, leaving.signal);
    if (current === of) view.setGrey(grey);
  } catch {
    // it has no more than are shown
  }
}

function loadPicture(number) {
  return new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => picture.decode().then(() => done(picture), failed);
    picture.onerror = () => failed(new Error("picture"));
    picture.src = `/api/images/${number}/picture`;
  });
}

async function fetchAhead(number) {
  const turn = showing;
  try {
    const next = await nextNumber(number);
    if (turn !== showing || next === null) return;
    const found = fetchImage(next);
    await Promise.all([found.image, found.picture]);
    if (turn === showing) upcoming = found;
  } catch {
    // it is fetched when it is shown
  }
}

// The server does not know yet what is on its way to it: those images are passed, too, unless they are open again.
async function nextNumber(number) {
  const last = new Map(outbox.waiting.map((action) => [numbers.get(action.image), action.do]));
  const passed = new Set([number, ...[...last.keys()].filter((each) => last.get(each) !== "undo")]);
  const query = [...passed].filter((each) => each >= 0).map((each) => `after=${each}`);
  return (await ask(`/api/next?${query.join("&")}`)).number;
}

async function goNext() {
  const from = current?.number ?? strip.current;
  const ready = upcoming;
  if (ready && ready.number !== from && ["o", "s"].includes(about.statuses[ready.number])) return show(ready.number);
  let number = null;
  try {
    number = await nextNumber(from);
  } catch {
    // without a connection: the next in the row that is open
    const open = about.statuses.map((letter, index) => (letter === "o" && index !== from ? index : -1));
    number = open.find((index) => index > from) ?? open.find((index) => index >= 0) ?? null;
  }
  number ??= audit?.draftBeside(about.names, from) ?? null;
  if (number !== null) return show(number);
  if (audit?.isOpen) tellPerson("what is drawn here is not taken yet: Enter takes it", true);
  else tellPerson(about.statuses[from] === "o" ? "every other image was looked at" : "every image was looked at");
}

// ---- what is done

function act(action) {
  flushNudge();
  if (!current) return;
  const full = { id: newId(), image: current.image, ...action };
  trail.push(current.number);
  if (action.do !== "undo" && action.do !== "redo") trailBack = [];
  current.actions = [...current.actions, { ...full, user: about.user }];
  outbox.put(full);
  update();
}

// `proposal`: the id of the one that the box replaces.
function draw(xyxy, name, source, proposal = "") {
  const box = { id: newId(), xyxy, finding: name, source };
  if (proposal) current.replaced.set(box.id, proposal);
  adoptMask("drag", box.id);
  act({ do: "draw", box });
  choose(box.id);
  if ($("onward").checked && source === "drawn") goNext();
}

function move(box, xyxy) {
  act({ do: "move", box_id: box.id, xyxy });
  choose(box.id);
}

function accept() {
  if (!current || !view.proposals.length) return;
  for (const { xyxy, finding: name } of view.proposals) {
    act({ do: "draw", box: { id: newId(), xyxy, finding: name, source: "accepted" } });
  }
  goNext();
}

function decide(kind, name = "") {
  if (!current) return;
  const { boxes } = current.state;
  act(kind === "skip" ? { do: kind } : { do: kind, finding: name, among: name ? [] : about.among });
  const gone = boxes.length - current.state.boxes.length;
  if (gone) tellPerson(`${gone === 1 ? "a box was" : `${gone} boxes were`} taken away; Z brings ${gone === 1 ? "it" : "them"} back`);
  if (!name || statusOf(current.state, about.findings) !== "open") goNext();
}

async function undo() {
  flushNudge();
  const number = trail.pop() ?? current?.number;
  if (number === undefined) return;
  if (number !== current?.number) await show(number);
  const of = current && undoable(current.actions, about.user).undo;
  if (!of) return;
  act({ do: "undo", of });
  trail.pop();
  trailBack.push(number);
}

async function redo() {
  flushNudge();
  const number = trailBack.pop() ?? current?.number;
  if (number === undefined) return;
  if (number !== current?.number) await show(number);
  const of = current && undoable(current.actions, about.user).redo;
  if (of) act({ do: "redo", of });
}

function nameFinding(name) {
  const box = chosenBox();
  finding = name;
  if (box && box.finding !== name) act({ do: "name", box_id: box.id, finding: name });
  update();
}

function remove(id = view.chosen) {
  if (!current?.state.boxes.some((box) => box.id === id)) return;
  act({ do: "delete", box_id: id });
  choose("");
}

function choose(id) {
  view.chosen = id;
  const box = chosenBox();
  if (box) finding = box.finding;
  showState();
}

const chosenBox = () => current?.state.boxes.find((box) => box.id === view.chosen);

// ---- boxes by keyboard: many small steps become one action

let nudged = null;

function nudge([dx, dy], edges) {
  const box = chosenBox();
  if (!box) return;
  if (nudged && nudged.id !== box.id) flushNudge();
  const [x1, y1, x2, y2] = nudged?.xyxy ?? box.xyxy;
  const moved = [x1, y1, x2, y2];
  if (edges !== "last") (moved[0] += dx), (moved[1] += dy);
  if (edges !== "first") (moved[2] += dx), (moved[3] += dy);
  const inside = moved[0] >= 0 && moved[1] >= 0 && moved[2] <= current.width && moved[3] <= current.height;
  if (!inside || moved[2] - moved[0] < 2 || moved[3] - moved[1] < 2) return;
  clearTimeout(nudged?.timer);
  nudged = { id: box.id, xyxy: rounded(moved), timer: setTimeout(flushNudge, NUDGE_WAIT_MS) };
  view.boxes = view.boxes.map((each) => (each.id === box.id ? { ...each, xyxy: nudged.xyxy } : each));
  maskSoon(box.id, nudged.xyxy, colourOf(box.finding));
  view.draw();
  showSaved();
}

function flushNudge() {
  if (!nudged) return;
  clearTimeout(nudged.timer);
  const { id, xyxy } = nudged;
  nudged = null;
  act({ do: "move", box_id: id, xyxy });
}

function boxInMiddle() {
  if (!current) return;
  const middle = view.clip(view.toImage([view.room[0] / 2, view.room[1] / 2]));
  const half = Math.min(current.width, current.height) / 8;
  const [x1, y1] = view.clip([middle[0] - half, middle[1] - half]);
  const [x2, y2] = view.clip([middle[0] + half, middle[1] + half]);
  draw(rounded([x1, y1, x2, y2]), finding, "drawn");
}

// ---- the teacher

let masks = { asked: new Map(), timer: 0, running: false };

// One question at a time, always about the newest place of a box.
function maskSoon(id, xyxy, colour) {
  if (!current || about.teacher.state !== "ready") return;
  masks.asked.set(id, { xyxy, colour, number: current.number });
  if (!masks.running) runMasks();
}

async function runMasks() {
  masks.running = true;
  while (masks.asked.size) {
    const [id, { xyxy, colour, number }] = masks.asked.entries().next().value;
    masks.asked.delete(id);
    try {
      const { picture, sure } = await askMask(number, xyxy, leaving.signal);
      if (current?.number === number && (id === "drag" || current.state.boxes.some((box) => box.id === id))) {
        view.masks.set(id, { tinted: tint(picture, colour), xyxy, sure, picture });
      } else if (masks.adopted?.from === id && current?.number === number) {
        view.masks.set(masks.adopted.to, { tinted: tint(picture, colour), xyxy, sure, picture });
      }
      view.draw();
    } catch {
      // it is asked again when the box moves, or the teacher is ready
    }
  }
  masks.running = false;
}

// What was drawn has its name now: the mask of the drag is its mask, until a newer one comes.
function adoptMask(from, to) {
  const mask = view.masks.get(from);
  view.masks.delete(from);
  masks.asked.delete(from);
  if (mask) view.masks.set(to, mask);
}

function askMasks() {
  if (!current) return;
  const boxes = current.state.boxes;
  for (const id of view.masks.keys()) {
    if (id !== "student" && !boxes.some((box) => box.id === id)) view.masks.delete(id);
  }
  for (const box of boxes) {
    const known = view.masks.get(box.id);
    const colour = colourOf(box.finding);
    if (!known || known.xyxy.join() !== box.xyxy.join()) maskSoon(box.id, box.xyxy, colour);
    else known.tinted = known.colour === colour ? known.tinted : tint(known.picture, colour);
    if (known) known.colour = colour;
  }
}

async function askTeacher() {
  if (!current || about.teacher.state !== "ready") return;
  const { number } = current;
  const { signal } = leaving;
  try {
    await ask(`/api/images/${number}/encoding`, { signal });
    if (signal.aborted) return;
    current.seen = true;
    askMasks();
  } catch {
    return; // without a teacher one labels all the same
  }
  await askProposals();
}

async function askProposals() {
  if (current.review || !about.teacher.proposals || statusOf(current.state, about.findings) === "empty") return;
  // Those among which a person is at work stay: new ones would be of findings without a box alone.
  if (current.state.boxes.some((box) => current.replaced.has(box.id))) return;
  const of = current;
  try {
    const { boxes } = await ask(`/api/images/${of.number}/proposals`, { signal: leaving.signal });
    if (current !== of) return;
    current.proposed = boxes;
    showProposals();
    showState();
  } catch {
    // nor does one need proposals
  }
}

// Of the findings that are open: what is undone opens them again. A proposal that is corrected gives way to its box,
// and leaves the others of its finding.
function showProposals() {
  const { boxes, nothing, unsure } = current.state;
  const { replaced } = current;
  const gone = new Set(boxes.map((box) => replaced.get(box.id)));
  const known = new Set(boxes.filter((box) => !replaced.has(box.id)).map((box) => box.finding));
  // The sheet of disagreements leads to what was called empty, too.
  if (!current.review) for (const name of [...nothing, ...unsure]) known.add(name);
  view.proposals = current.proposed
    .map((box, index) => ({ ...box, id: `proposed-${index}`, proposed: true, colour: colourOf(box.finding) }))
    .filter((box) => !known.has(box.finding) && !gone.has(box.id));
}

// ---- what comes back

function onSaved(action, saved) {
  if (current?.image !== action.image) return;
  current.version = saved.version;
  current.actions = withWaiting(action.image, saved.actions);
  update();
  if (audit && action.do !== "audit") audit.follow();
  // When this image was shown, what was undone since may have kept the teacher from proposing.
  if (!audit && action.do === "undo" && current.seen) askProposals();
}

function onRefused(action, reason) {
  tellPerson(`not saved: ${reason}`, true);
  audit?.refused(action);
  if (current?.image !== action.image) return;
  current.actions = current.actions.filter((each) => each.id !== action.id);
  update();
  audit?.follow();
}

function letterOf({ actions, state }) {
  if (!audit) return LETTERS[statusOf(state, about.findings)];
  const settled = lastAudit(actions);
  return settled ? (settled.audit.edits.length ? "c" : "a") : "o";
}

const withWaiting = (image, actions) => {
  const there = new Set(actions.map((action) => action.id));
  const waiting = outbox.of(image).filter((action) => !there.has(action.id));
  return [...actions, ...waiting.map((action) => ({ ...action, user: about.user }))];
};

async function askNews() {
  let news;
  try {
    news = await ask(`/api/news?since=${about.version}`);
  } catch (error) {
    outbox.problem = error instanceof Refused ? error.message : NO_CONNECTION;
    return showSaved();
  }
  if (outbox.problem && !outbox.waiting.length) {
    outbox.problem = "";
    showSaved();
  }
  const [teacherBefore, studentBefore] = [about.teacher, about.student];
  const elsewhere = news.version > about.version;
  showNews(news);
  if (elsewhere && current && !outbox.waiting.length) {
    // Another tab or person: this image may be among what changed.
    const saved = await ask(`/api/images/${current.number}`).catch(() => null);
    // What was saved while the answer was on its way is newer.
    if (saved && saved.image === current?.image && saved.version >= current.version && !nudged) {
      const before = lastAudit(current.actions)?.id;
      current.actions = withWaiting(saved.image, saved.actions);
      update();
      if (audit && lastAudit(current.actions)?.id !== before) audit.follow();
    }
  }
  const wasReady = teacherBefore.state === "ready";
  if (audit) {
    if (current && (studentBefore !== news.student || (!wasReady && news.teacher.state === "ready"))) audit.ask();
    return;
  }
  if ((!wasReady && news.teacher.state === "ready") || teacherBefore.proposals !== news.teacher.proposals) askTeacher();
}

function showNews(news) {
  // The version of the statuses: not that of what this page saved meanwhile.
  Object.assign(about, { version: news.version, teacher: news.teacher });
  if (news.statuses) {
    about.statuses = [...news.statuses];
    if (current?.state) about.statuses[current.number] = letterOf(current);
    strip.setStatuses(about.statuses);
  }
  if (news.problem && news.problem !== showNews.told) tellPerson(`what others do is not shown: ${news.problem}`, true);
  showNews.told = news.problem;
  about.seconds = news.seconds_a_box;
  about.student = news.student;
  about.unreadable = news.unreadable;
  $("sheet-button").hidden = !about.student || Boolean(audit);
  if (audit) $("result").textContent = resultText(news.audit);
  showCurve(news.rounds);
  showProgress();
  showTeacher();
}

// ---- drawing the rest of the page

function update() {
  if (!current) return showState();
  current.state = derive(current.actions, about.findings);
  about.statuses[current.number] = letterOf(current);
  strip.setStatuses(about.statuses);
  showProposals();
  if (about.teacher.state === "ready" && !audit) askMasks();
  showState();
  showProgress();
}

function showState() {
  const state = current?.state;
  view.colour = colourOf(finding);
  // Who judges a mask must not be led by a box.
  view.boxes = (audit ? [] : state?.boxes ?? []).map((box) => ({ ...box, colour: colourOf(box.finding) }));
  view.draw();
  $("zoom").textContent = current ? `${Math.round(100 * (view.scale ?? 1))} %` : "";
  const can = current ? undoable(current.actions, about.user) : { undo: "", redo: "" };
  $("undo").disabled = !can.undo && !trail.length;
  $("redo").disabled = !can.redo && !trailBack.length;
  $("empty-one").hidden = about.findings.length < 2;
  $("empty-one-text").textContent = `No ${finding}`;
  $("accept").hidden = !view.proposals.length;
  $("accept-text").textContent = view.proposals.length > 1 ? `Accept ${view.proposals.length} proposals` : "Accept proposal";
  [...$("findings").children].forEach((button, index) => {
    const name = about.findings[index];
    button.setAttribute("aria-pressed", String(name === finding));
    const count = state?.boxes.filter((box) => box.finding === name).length;
    button.querySelector("small").textContent = count
      ? String(count)
      : state?.nothing.has(name) ? "not there" : state?.unsure.has(name) ? "not sure" : "";
  });
  $("boxes").replaceChildren(...(state?.boxes ?? []).map(boxLine));
  const status = state && statusOf(state, about.findings);
  const told = { empty: "Looked at: nothing there.", unsure: "Not sure: stays unknown.", skipped: "Skipped: comes again at the end.", open: "None yet. Drag over the image." };
  $("state").textContent = told[status] ?? "";
}

function boxLine(box) {
  const line = element("li", {});
  if (box.id === view.chosen) line.setAttribute("aria-current", "true");
  const [x1, y1, x2, y2] = box.xyxy;
  const size = `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)}`;
  const text = element("button", { type: "button", className: "grow" }, about.findings.length > 1 ? `${box.finding} ` : `${size} px `);
  text.append(element("small", {}, about.findings.length > 1 ? `${size}, ${SOURCES[box.source]}` : SOURCES[box.source]));
  text.addEventListener("click", () => choose(box.id));
  const bin = element("button", { type: "button", className: "icon", title: "Delete (Del)" });
  bin.setAttribute("aria-label", "Delete this box");
  bin.append(drawing("M5.5 5.5l9 9M14.5 5.5l-9 9"));
  bin.addEventListener("click", () => remove(box.id));
  line.append(swatch(colourOf(box.finding)), text, bin);
  return line;
}

function showProgress() {
  const counts = {};
  for (const letter of about.statuses) counts[letter] = (counts[letter] ?? 0) + 1;
  const all = about.names.length;
  const letters = audit ? ["a", "-", "c", "-"] : ["b", "e", "u", "s"];
  const [boxed, empty, unsure, skipped] = letters.map((letter) => counts[letter] ?? 0);
  [boxed, empty, unsure, skipped].forEach((count, index) => {
    $("meter").children[index].style.width = `${(100 * count) / all}%`;
  });
  const parts = audit ? [`${boxed} accepted`, `${unsure} corrected`] : [`${boxed} boxed`, `${empty} empty`];
  if (unsure && !audit) parts.push(`${unsure} not sure`);
  if (skipped) parts.push(`${skipped} skipped`);
  parts.push(`${all - boxed - empty - unsure - skipped} left`);
  // Those of an audit of more images are kept for it.
  const drawn = audit ? about.names.filter((name) => audit.drafts.kept.has(name)).length : 0;
  if (drawn) parts.push(`${drawn} drawn, not taken`);
  if (about.unreadable) parts.push(`${about.unreadable} cannot be read`);
  if (about.seconds && !audit) {
    parts.push(`${about.seconds.toFixed(1)} s a box`);
    const stop = STOPS.find((each) => each > boxed && each <= all);
    if (stop) parts.push(`${stop} boxed in ${minutes((stop - boxed) * about.seconds)}`);
  }
  $("progress").textContent = parts.join(" · ");
  $("meter").setAttribute("aria-label", parts.join(", "));
}

function showTeacher() {
  const { state, message, encoded, wanted, proposals, head_dice: dice } = about.teacher;
  const note = $("teacher");
  note.className = `note ${{ ready: encoded < wanted ? "busy" : "good", loading: "busy", failed: "bad", off: "" }[state]}`;
  const learnt = proposals ? `; proposals from ${proposals} boxed${dice ? `, Dice ${dice.toFixed(2)}` : ""}` : "";
  note.textContent = {
    ready: `teacher: ${encoded} of ${wanted} images seen${learnt}`,
    loading: "the teacher is being loaded",
    failed: "no masks",
    off: "no teacher",
  }[state];
  note.title = message || "";
  if (state === "failed" && !showTeacher.told) {
    showTeacher.told = true;
    tellPerson(`boxes are drawn without masks: ${message}`, true);
  }
}

function showSaved() {
  const note = $("saved");
  const count = outbox.waiting.length + (nudged ? 1 : 0);
  const open = audit?.isOpen && !count;
  note.className = `note ${outbox.problem ? "bad" : count ? "busy" : open ? "" : "good"}`;
  note.title = outbox.problem;
  note.textContent = outbox.problem ? `${outbox.problem}${count ? `; ${count} kept here until it is back` : ""}` : count ? "saving" : open ? "not taken" : "saved";
  if (audit && about.statuses) showProgress();
}

const VERDICTS = { "would likely help": "more boxes would still help", "would hardly help": "you can stop", "may help a little": "more boxes may help a little" };

// Training in the background: how the agreement grew with the boxes, and whether more would help.
function showCurve(rounds) {
  $("curve").hidden = !rounds;
  if (!rounds) return;
  // Of one thing: the student's, and before validation images are boxed the proposals'.
  const of = rounds.points.some(({ agreement }) => agreement !== null) ? "agreement" : "head_dice";
  const known = rounds.points.map((point) => [point.boxed, point[of]]).filter(([, value]) => value !== null);
  const most = Math.max(...known.map(([boxed]) => boxed), 1);
  const place = ([boxed, value]) => `${(4 + (82 * boxed) / most).toFixed(1)},${(23 - 20 * value).toFixed(1)}`;
  $("curve").querySelector("polyline").setAttribute("points", known.map(place).join(" "));
  const last = rounds.points.at(-1);
  const told = last ? Object.entries(VERDICTS).find(([start]) => last.told.startsWith(start))?.[1] ?? "" : "";
  const doing = { waiting: `training at ${rounds.next_at} boxed`, training: "training", failed: "training stopped" }[rounds.state];
  const value = known.length ? `agreement ${of === "agreement" ? "" : "of proposals "}${known.at(-1)[1].toFixed(2)}` : "";
  $("curve-text").textContent = [told, value, doing].filter(Boolean).join(" · ");
  $("curve").title = [rounds.message, last?.told].filter(Boolean).join("; ") || "agreement with the teacher by boxed images";
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function tellPerson(text, bad = false) {
  const toast = $("toast");
  toast.textContent = text;
  toast.classList.toggle("bad", bad);
  toast.hidden = false;
  clearTimeout(tellPerson.timer);
  tellPerson.timer = setTimeout(() => (toast.hidden = true), bad ? 8000 : 2500);
}

function chooseTheme(name) {
  const dark = name ? name === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

// ---- small things

const colourOf = (name) =>
  about.colours[name] ?? COLOURS[Math.max(0, about.findings.indexOf(name)) % COLOURS.length];
const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const minutes = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

function element(tag, properties, text = "") {
  const made = Object.assign(document.createElement(tag), properties);
  if (text) made.textContent = text;
  return made;
}

function swatch(colour) {
  const made = element("span", { className: "dot" });
  made.style.background = colour;
  return made;
}

function drawing(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

// ---- keys and buttons

const DO = {
  accept,
  empty: () => decide("empty"),
  "empty-one": () => decide("empty", finding),
  unsure: () => decide("unsure"),
  skip: () => decide("skip"),
  undo,
  redo,
  next: goNext,
  before: () => show(strip.current - 1),
  after: () => show(strip.current + 1),
  fit: () => (view.fit(), showState()),
  "zoom-in": () => (view.zoom(1.25), showState()),
  "zoom-out": () => (view.zoom(0.8), showState()),
  pan: () => setPanning(!view.panning),
  masks: () => {
    view.masksShown = !view.masksShown;
    $("masks").setAttribute("aria-pressed", String(view.masksShown));
    view.draw();
  },
  window: () => view.resetWindow(),
  help: () => {
    $("keys").showModal();
    $("keys").scrollTop = 0;
  },
  sheet: () => (sheet.isOpen ? sheet.close() : about.student && !audit && sheet.open()),
};

function setPanning(on) {
  view.panning = on;
  $("pan").setAttribute("aria-pressed", String(on));
  $("overlay").style.cursor = on ? "grab" : "crosshair";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button && about) {
    DO[button.dataset.do]();
  }
  // After a mouse or a finger Enter is `next`, not the same button again; who came by Tab stays there.
  if (event.detail) event.target.closest("button, input[type=checkbox]")?.blur();
});
$("help").addEventListener("click", DO.help);
$("theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("meddistill-theme", name);
  chooseTheme(name);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chooseTheme(localStorage.getItem("meddistill-theme")));
// After a mouse or a finger the keys are the page's again.
for (const range of document.querySelectorAll("input[type=range]")) range.addEventListener("pointerup", () => range.blur());
for (const id of ["width", "level"]) {
  $(id).addEventListener("input", () => view.setWindow($("width").value / 100, $("level").value / 100));
}
$("onward").addEventListener("change", () => localStorage.setItem("meddistill-onward", $("onward").checked ? "yes" : "no"));
$("order").addEventListener("change", async () => {
  $("order").blur();
  upcoming = null;
  await tell("/api/order", { order: $("order").value }).catch(() => tellPerson("no connection: the order stays", true));
});
$("view").addEventListener("wheel", () => showState(), { passive: true });

const KEYS = {
  a: "accept", e: "empty", u: "unsure", s: "skip", z: "undo", y: "redo", n: "next", Enter: "next",
  f: "fit", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", m: "masks", w: "window", "?": "help", c: "sheet",
};
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  if (!about || $("keys").open || event.target.matches("select, input[type=range]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Windows reports AltGr, by which many keyboards write brackets, as Ctrl and Alt.
  const command = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  if (key === "Enter" && event.target.closest("button")) return;
  if (key === " " && event.target.closest("button, input")) return;
  if (command && !["z", "y"].includes(key)) return;
  if (sheet.isOpen) {
    if (key === "c" || key === "Escape") sheet.close();
    return;
  }
  if (audit && current && audit.key(key, event)) return event.preventDefault();
  const step = STEPS[event.key];
  if (step && view.chosen && !command) {
    nudge(step, event.altKey ? "first" : event.shiftKey ? "last" : "both");
  } else if (step && event.shiftKey) {
    view.pan(-PAN_PX * step[0], -PAN_PX * step[1]);
  } else if (["ArrowUp", "ArrowDown", "PageUp", "PageDown"].includes(key)) {
    const beside = current?.volume?.[key.endsWith("Up") ? "before" : "after"];
    if (typeof beside === "number") show(beside);
  } else if (key === "ArrowLeft") DO.before();
  else if (key === "ArrowRight") DO.after();
  else if (command && key === "z" && event.shiftKey) redo();
  else if (event.shiftKey && key === "e") decide("empty", finding);
  else if (event.shiftKey && key === "u") decide("unsure", finding);
  else if (/^[1-9]$/.test(key)) about.findings[key - 1] && nameFinding(about.findings[key - 1]);
  else if (key === "Delete" || key === "Backspace") remove();
  else if (key === "Escape") choose("");
  else if (key === "b") boxInMiddle();
  else if (key === " ") setPanning(true);
  else if (key === "Tab" && current?.state.boxes.length && event.target === $("overlay")) {
    const ids = current.state.boxes.map((box) => box.id);
    const place = ids.indexOf(view.chosen);
    if (place === ids.length - 1) return choose(""); // the page's next button then
    choose(ids[place + 1]);
  } else if (KEYS[key]) {
    flushNudge();
    DO[KEYS[key]]();
  } else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => event.key === " " && view.panning && setPanning(false));
window.addEventListener("pagehide", flushNudge);

begin();
