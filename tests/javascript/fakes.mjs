// A browser as far as repruv.js needs one: events, a scripted server, and a clock that the test moves.

import { mock } from 'node:test';

/** Lets promises that are ready run on. */
export async function settle() {
  for (let round = 0; round < 30; round++) await new Promise((resolve) => setImmediate(resolve));
}

/** Moves the clock, in small steps, so that what one timer starts has its own time. */
export async function pass(ms) {
  await settle();
  for (let left = ms; left > 0; left -= 500) {
    mock.timers.tick(Math.min(500, left));
    await settle();
  }
}

class FakeEventSource extends EventTarget {
  static all = [];

  static get last() {
    return FakeEventSource.all.at(-1);
  }

  constructor(url) {
    super();
    this.url = url;
    this.closed = false;
    this.id = '';
    FakeEventSource.all.push(this);
  }

  close() {
    this.closed = true;
  }

  emit(type, data = {}, id = '') {
    if (id) this.id = id; // an event without one has that of the event before
    this.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify(data), lastEventId: this.id }));
  }

  hello(id = '1', more = {}) {
    this.emit('hello', { resumed: true, replayed: 0, heartbeat_s: 15, ...more }, id);
  }

  fail() {
    this.onerror(new Event('error'));
  }
}

/** Installs the globals; answers with the server, the sources opened so far, and the page's own events. */
export function browser() {
  FakeEventSource.all = [];
  const server = { answers: new Map(), requests: [] };
  const window = new EventTarget();
  const page = Object.assign(new EventTarget(), { hidden: false, user: null, querySelector: () => page.user && { content: page.user } });
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  mock.method(Math, 'random', () => 0.5);
  globalThis.EventSource = FakeEventSource;
  globalThis.document = page;
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.fetch = async (url, { headers = {}, signal } = {}) => {
    signal?.throwIfAborted();
    server.requests.push({ url, headers });
    const answer = server.answers.get(url);
    if (answer === undefined) throw new TypeError('fetch failed');
    const { status = 200, body = {}, headers: sent = {} } = typeof answer === 'function' ? answer(headers) : answer;
    return new Response(status === 304 ? null : JSON.stringify(body), { status, headers: sent });
  };
  return {
    server,
    sources: () => FakeEventSource.all,
    source: () => FakeEventSource.last,
    fire: (type) => window.dispatchEvent(new Event(type)),
    show: (visible) => {
      page.hidden = !visible;
      page.dispatchEvent(new Event('visibilitychange'));
    },
  };
}

export function restore() {
  mock.timers.reset();
  mock.restoreAll();
}

export const job = (version, status = 'running', more = {}) => ({ job_id: 'j1', version, status, progress: null, ...more });
export const demo = (version, status = 'enabling', more = {}) => ({ status, version, job_id: 'j1', job_status: 'running', ...more });
