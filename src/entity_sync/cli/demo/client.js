// A small v2 client: one connection, who it speaks for, and what it watches. The page makes one for each user.

import { applied, Misfit, named } from "/rows.js";

const PATH = "/ws/entity-sync/";
const LONGEST_WAIT = 30_000;

const nameOf = ({ entity, id }) => `${entity}\n${id}`;

export class Client {
  #copies = new Map();
  #answers = new Map();
  #refs = 0;
  #socket = null;
  #secret;
  #asked = null; // the ref of a secret that is being checked
  #isRefused = false;
  #isBrokerStale = false;
  #isSettled = false; // each copy was answered once since it connected
  #isWanted = false;
  #silence = 15_000;
  #watchdog = 0;
  #countdown = 0;
  #retryAfter = 0;
  #attempts = 0;
  #tell;
  #log;

  // secret: undefined for none. onState(state, more): what to say of the connection.
  // onFrame(direction, message, text): every frame.
  constructor({ secret, onState, onFrame }) {
    this.#secret = secret;
    this.#tell = onState;
    this.#log = onFrame;
    addEventListener("online", () => this.#isWanted && (this.#socket ?? this.#retry(0)));
    addEventListener("offline", () => this.#isWanted && this.#try());
  }

  // What a program does

  open() {
    this.#isWanted = true;
    this.#connect();
  }

  close() {
    this.#isWanted = false;
    clearTimeout(this.#countdown);
    if (this.#socket) this.#leave();
  }

  watch(copies) {
    for (const copy of copies) this.#copies.set(nameOf(copy), copy);
    if (this.#isOpen && copies.length) this.#subscribe(copies);
  }

  // What was held stays held, so that watching it again costs nothing if it is still true.
  unwatch(copies) {
    for (const copy of copies) {
      this.#copies.delete(nameOf(copy));
      copy.doubt();
    }
    if (!this.#isOpen || !copies.length) return;
    this.#send({ action: "unsubscribe", ref: ++this.#refs, body: copies.map(({ entity, id }) => ({ entity, id })) });
  }

  // From now on it speaks for somebody else, who may see something else.
  become(secret) {
    this.#secret = secret;
    for (const copy of this.#copies.values()) copy.drop();
    this.#show(this.#copies.values());
    if (this.#isOpen) this.#introduce();
  }

  // The application's answer to a message of its own: { ok, text }.
  request(body) {
    return new Promise((resolve) => {
      if (!this.#isOpen) return resolve({ ok: false, text: "not connected: not saved" });
      this.#answers.set(++this.#refs, resolve);
      this.#send({ action: "message", ref: this.#refs, body });
    });
  }

  // The connection

  get #isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${PATH}`, "entity-sync.v2");
    this.#socket = socket;
    this.#tell("connecting");
    this.#watch();
    socket.onopen = () => {
      if (this.#secret !== undefined) this.#introduce();
      this.#subscribe([...this.#copies.values()]);
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => this.#lose();
  }

  #introduce() {
    this.#asked = ++this.#refs;
    this.#isRefused = false;
    this.#send({ action: "secret", ref: this.#asked, body: this.#secret ?? null });
  }

  #subscribe(copies) {
    const body = copies.map(({ entity, id, version }) => ({ entity, id, version })); // JSON omits undefined
    this.#send({ action: "subscribe", ref: ++this.#refs, body });
  }

  #send(message) {
    const text = JSON.stringify(message);
    this.#log("up", message, text);
    this.#socket.send(text);
  }

  // No frame for this long: what is shown may be old. For twice as long: nobody is there.
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#tell("stale");
      this.#watchdog = setTimeout(() => this.#lose(), this.#silence);
    }, this.#silence);
  }

  #try() {
    if (!this.#isOpen) return;
    this.#send({ action: "ping" });
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose(), 2000);
  }

  #leave() {
    clearTimeout(this.#watchdog);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null; // a dead link can take minutes to close
    this.#socket.close();
    this.#socket = this.#asked = null;
    this.#isBrokerStale = this.#isSettled = this.#isRefused = false;
    for (const copy of this.#copies.values()) copy.doubt();
    for (const ref of [...this.#answers.keys()]) this.#answer(ref, { ok: false, text: "the connection broke: perhaps not saved" });
  }

  #lose() {
    this.#leave();
    const wait = this.#retryAfter + Math.random() * Math.min(LONGEST_WAIT, 500 * 2 ** this.#attempts++);
    this.#retryAfter = 0;
    this.#retry(Date.now() + wait);
  }

  #retry(at) {
    clearTimeout(this.#countdown);
    const left = at - Date.now();
    if (left <= 0) return this.#connect();
    if (navigator.onLine) this.#tell("reconnecting", ` in ${Math.ceil(left / 1000)} s`);
    else this.#tell("offline"); // and still try: a server on this machine is there without a network
    this.#countdown = setTimeout(() => this.#retry(at), Math.min(left, 250));
  }

  // What the server says; an event that is not listed below is ignored

  #receive(data) {
    const message = JSON.parse(data);
    this.#log("down", message, data);
    this.#watch();
    const touched = new Set(); // shown when the whole frame is applied
    for (const one of [message].flat()) {
      const isUndecided = this.#asked !== null && (one.view !== undefined || one.entity !== undefined);
      if (isUndecided || !Object.hasOwn(this.#on, one.event)) continue; // it may be for who we were
      this.#on[one.event](one, touched);
      if (!this.#socket) return;
    }
    this.#show(touched);
    const copies = [...this.#copies.values()];
    this.#isSettled ||= copies.every(({ isSure, isStale }) => isSure || isStale);
    if (this.#isRefused) this.#tell("refused");
    else if (this.#isBrokerStale || copies.some(({ isStale }) => isStale)) this.#tell("stale");
    else this.#tell(this.#isSettled ? "live" : "connecting");
  }

  #show(copies) {
    for (const copy of copies) copy.show(copy);
  }

  #answer(ref, body) {
    this.#answers.get(ref)?.(body);
    this.#answers.delete(ref);
  }

  #resync(view, rev) {
    this.#send({ action: "resync", body: { view, rev } });
  }

  // The copies that a message is about: by names, or by the view's number
  #of({ entity, id, view }) {
    return [...this.#copies.values()].filter((copy) =>
      entity === undefined ? view !== undefined && copy.view === view : copy.entity === entity && copy.id === id,
    );
  }

  #on = {
    welcome: ({ stale_ms }) => (this.#silence = stale_ms),
    goodbye: ({ retry_after_ms }) => (this.#retryAfter = retry_after_ms),
    ack: ({ ref, failed = [] }, touched) => {
      if (ref === this.#asked) this.#asked = null;
      if (!this.#isRefused) this.#attempts = 0;
      for (const failure of failed) this.#each(failure, touched, (copy) => copy.settle(failure.text));
    },
    snapshot: (message, touched) =>
      this.#each(message, touched, (copy) => copy.hold(named(copy, message.rows), message)),
    delta: (message, touched) =>
      this.#each({ view: message.view }, touched, (copy) => {
        try {
          if (copy.rev !== message.base) throw new Misfit("of another rev");
          copy.hold(applied(copy, copy.rows, message), message);
        } catch (error) {
          if (!(error instanceof Misfit)) throw error;
          this.#resync(message.view, 0);
        }
      }),
    current: (message, touched) =>
      this.#each(message, touched, (copy) => {
        if (copy.version === message.version) copy.hold(copy.rows, { ...message, gone: copy.isGone });
        else this.#resync((copy.view = message.view), 0); // it was discarded
      }),
    denied: (message, touched) =>
      this.#each(message, touched, (copy) => {
        copy.drop();
        copy.settle();
        copy.isDenied = true;
      }),
    stale: (message, touched) => this.#mark(message, touched, true),
    fresh: (message, touched) => this.#mark(message, touched, false),
    message: ({ ref, body }) => this.#answer(ref, body),
    error: ({ ref, entity, id, text, retryable }, touched) => {
      if (ref !== undefined && ref === this.#asked) {
        this.#asked = null;
        this.#isRefused = true;
        if (retryable) return this.#lose(); // it could not be checked: later, then
      }
      this.#answer(ref, { ok: false, text });
      if (entity !== undefined) this.#each({ entity, id }, touched, (copy) => copy.settle(text));
    },
  };

  #each(message, touched, change) {
    for (const copy of this.#of(message)) {
      change(copy);
      touched.add(copy);
    }
  }

  #mark(message, touched, isStale) {
    if (message.view === undefined && message.entity === undefined) this.#isBrokerStale = isStale;
    this.#each(message, touched, (copy) => (copy.isStale = isStale));
  }
}
