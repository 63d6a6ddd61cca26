// What the actions on an image come to. The same rules as state.py: a test runs both on the same journals.

export const LETTERS = { boxed: "b", empty: "e", unsure: "u", skipped: "s", open: "o" };

const nothingDone = () => ({ boxes: [], nothing: new Set(), unsure: new Set(), skipped: false });

function undone(actions) {
  const gone = new Set();
  for (const action of actions) {
    if (action.do === "undo") gone.add(action.of);
    else if (action.do === "redo") gone.delete(action.of);
  }
  return gone;
}

export function derive(actions, findings) {
  let state = nothingDone();
  const gone = undone(actions);
  actions.forEach((action, place) => {
    if (action.do === "given") {
      if (place === 0) state = { ...nothingDone(), boxes: action.boxes, nothing: new Set(action.nothing) };
    } else if (action.do !== "undo" && action.do !== "redo" && !gone.has(action.id)) {
      state = after(state, action, findings);
    }
  });
  return state;
}

function after(state, action, findings) {
  if (action.do === "audit") return state;
  if (action.do === "skip") return { ...state, skipped: true };
  state = { ...state, skipped: false };
  if (action.do === "draw") {
    const others = state.boxes.filter((box) => box.id !== action.box.id);
    return known(state, [...others, action.box], action.box.finding);
  }
  if (action.do === "empty" || action.do === "unsure") {
    const named = action.finding ? [action.finding] : (action.among ?? []);
    const about = new Set(named.length ? named : findings);
    const boxes = state.boxes.filter((box) => named.length && !about.has(box.finding));
    const nothing = new Set([...state.nothing].filter((name) => !about.has(name)));
    const unsure = new Set([...state.unsure].filter((name) => !about.has(name)));
    const marked = action.do === "empty" ? nothing : unsure;
    for (const name of about) marked.add(name);
    return { boxes, nothing, unsure, skipped: false };
  }
  return changed(state, action);
}

function changed(state, action) {
  const boxes = [];
  let named = "";
  for (const box of state.boxes) {
    if (box.id !== action.box_id) boxes.push(box);
    else if (action.do === "move") {
      const source = box.source === "accepted" || box.source === "given" ? "corrected" : box.source;
      boxes.push({ ...box, xyxy: action.xyxy, source });
    } else if (action.do === "name") {
      named = action.finding;
      boxes.push({ ...box, finding: action.finding });
    }
  }
  return known(state, boxes, named);
}

function known(state, boxes, finding) {
  const without = (names) => new Set([...names].filter((name) => name !== finding));
  return { boxes, nothing: without(state.nothing), unsure: without(state.unsure), skipped: state.skipped };
}

export function statusOf(state, findings) {
  if (state.boxes.length) return "boxed";
  if (findings.every((name) => state.nothing.has(name))) return "empty";
  if (state.unsure.size && findings.every((name) => state.nothing.has(name) || state.unsure.has(name))) return "unsure";
  return state.skipped ? "skipped" : "open";
}

// What settled the image's mask; undefined where nobody did, or it was undone.
export function lastAudit(actions) {
  const gone = undone(actions);
  return actions.filter((action) => action.do === "audit" && !gone.has(action.id)).at(-1);
}

// The ids of what `user` can undo and redo; empty for nothing.
export function undoable(actions, user) {
  let done = [];
  let takenBack = [];
  for (const action of actions) {
    if (action.user !== user || action.do === "given") continue;
    if (action.do === "undo") {
      done = done.filter((id) => id !== action.of);
      takenBack.push(action.of);
    } else if (action.do === "redo") {
      takenBack = takenBack.filter((id) => id !== action.of);
      done.push(action.of);
    } else {
      done.push(action.id);
      takenBack = [];
    }
  }
  return { undo: done.at(-1) ?? "", redo: takenBack.at(-1) ?? "" };
}
