// Talking to the server: what is asked for, and the actions that wait until the server's disk has them.

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function answerOf(response) {
  if (response.ok) return response;
  let reason = `the server answered ${response.status}`;
  try {
    reason = (await response.json()).error ?? reason;
  } catch {
    // no reason given
  }
  throw new Refused(response.status, reason);
}

// Of which start of the server this page is: another one may serve another RUN by the same address.
let start = null;

export function belongTo(named) {
  start = named;
}

async function answer(path, { headers = {}, ...options } = {}) {
  return answerOf(await fetch(path, { ...options, headers: { ...headers, ...(start && { "x-meddistill-start": start }) } }));
}

export async function ask(path, options = {}) {
  return (await answer(path, { signal: AbortSignal.timeout(60000), ...options })).json();
}

export async function tell(path, content) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });
}

export async function askMask(number, box, signal) {
  const path = `/api/images/${number}/mask?box=${box.map((side) => side.toFixed(2)).join(",")}`;
  const response = await answer(path, { signal });
  const sure = Number(response.headers.get("x-predicted-iou"));
  return { picture: await createImageBitmap(await response.blob()), sure };
}

// A picture; where `content` is given, the answer to it.
export async function askPicture(path, content = null, signal = null) {
  const told = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  const response = await answer(path, { ...(content ? told : {}), signal });
  return createImageBitmap(await response.blob());
}

// The values of the source: uint16 from its lowest to its highest, and which of them are black and white.
export async function askGrey(number, signal) {
  const response = await answer(`/api/images/${number}/grey`, { signal });
  const [low, high, black, white] = response.headers.get("x-grey").split(",").map(Number);
  return { values: new Uint16Array(await response.arrayBuffer()), low, high, black, white };
}

export const NO_CONNECTION = "no connection to the server";
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

// Actions in the order they were done, kept in the browser until the server has saved them: neither a lost
// connection nor a reload loses one. Sent twice, an action is done once, by its id.
export class Outbox {
  constructor(key, { onSaved, onRefused, onChange }) {
    this.slot = `meddistill-label-${key}`;
    this.tab = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
    this.waiting = this.takeOver();
    this.problem = "";
    this.failures = 0;
    this.sending = false;
    Object.assign(this, { onSaved, onRefused, onChange });
    window.addEventListener("online", () => this.send());
  }

  // What a tab that was closed could not send. Tabs that are open hold theirs under a name of their own; taking
  // over what one of them is sending does no harm.
  takeOver() {
    const found = [];
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(`${this.slot}/`)) continue;
      try {
        found.push(...JSON.parse(localStorage.getItem(name)));
      } catch {
        // not ours
      }
    }
    const seen = new Set();
    return found.filter((action) => action?.id && !seen.has(action.id) && seen.add(action.id));
  }

  keep() {
    const name = `${this.slot}/${this.tab}`;
    try {
      if (this.waiting.length) localStorage.setItem(name, JSON.stringify(this.waiting));
      else localStorage.removeItem(name);
    } catch {
      // no room or not allowed: they wait in memory alone
    }
    this.onChange();
  }

  // Others' slots whose actions are all saved.
  sweep(id) {
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(`${this.slot}/`) || name.endsWith(this.tab)) continue;
      try {
        const left = JSON.parse(localStorage.getItem(name)).filter((action) => action.id !== id);
        if (left.length) localStorage.setItem(name, JSON.stringify(left));
        else localStorage.removeItem(name);
      } catch {
        localStorage.removeItem(name);
      }
    }
  }

  of(image) {
    return this.waiting.filter((action) => action.image === image);
  }

  put(action) {
    this.waiting.push(action);
    this.keep();
    this.send();
  }

  async send() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    const stuck = new Set(); // images of which nothing can be saved now
    let problem = "";
    for (let action; (action = this.waiting.find(({ image }) => !stuck.has(image))); ) {
      try {
        const history = await tell("/api/actions", action);
        this.done(action);
        this.onSaved(action, history);
      } catch (error) {
        if (error instanceof Refused && [400, 404, 413].includes(error.status)) {
          this.done(action);
          this.onRefused(action, error.message);
          continue;
        }
        stuck.add(action.image);
        problem = error instanceof Refused ? error.message : NO_CONNECTION;
        if (!(error instanceof Refused && [422, 503].includes(error.status))) break; // so would any other
      }
    }
    this.problem = problem;
    if (problem) this.timer = setTimeout(() => this.send(), RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]);
    this.sending = false;
    this.onChange();
  }

  done(action) {
    this.waiting = this.waiting.filter(({ id }) => id !== action.id);
    this.problem = "";
    this.failures = 0;
    this.sweep(action.id);
    this.keep();
  }
}
