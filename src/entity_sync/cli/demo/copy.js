// What the page holds of one key, for itself alone: nothing is shared between subscriptions.
export class Copy {
  rows = [];
  version = undefined; // of these rows: sent when subscribing again, so that what is held is not sent
  view = undefined; // this connection's number for it, and where the rows stand in its count
  rev = undefined;
  isKnown = false; // the server has said something of it
  isSure = false; // … on this connection, to this user
  isGone = false;
  isDenied = false;
  isStale = false;
  problem = "";

  constructor(entity, id, show) {
    Object.assign(this, { entity, id, show });
  }

  // The row that has the key itself.
  get data() {
    return this.rows.find(({ entity, id }) => entity === this.entity && id === this.id)?.data;
  }

  hold(rows, { view, rev, version, gone = false }) {
    Object.assign(this, { rows, view, rev, version, isGone: gone, isDenied: false });
    this.settle();
  }

  settle(problem = "") {
    Object.assign(this, { isKnown: true, isSure: true, problem });
  }

  // The next server, or the next answer, says it again.
  doubt() {
    Object.assign(this, { view: undefined, rev: undefined, isSure: false, isStale: false });
  }

  drop() {
    this.doubt();
    Object.assign(this, { rows: [], version: undefined, isGone: false, isDenied: false, problem: "" });
  }
}

