// A browser with tabs, each with globals of its own, before a server that keeps a journal of one user's events.

import { readFileSync } from 'node:fs';
import { mock } from 'node:test';
import vm from 'node:vm';

import { pass, settle } from './fakes.mjs';

const MODULE = new URL('../../gateway/static/repruv.js', import.meta.url);

/** Web Locks, as far as one exclusive lock per name. */
class Locks {
  #queues = new Map();

  for(tab) {
    return { request: (name, options, callback) => this.#request(tab, name, options, callback) };
  }

  holder(name) {
    return this.#queues.get(name)?.find((each) => each.isHeld)?.tab;
  }

  /** What the browser does when a tab is gone. */
  forget(tab) {
    for (const [name, queue] of this.#queues) {
      this.#queues.set(name, queue.filter((each) => each.tab !== tab));
      this.#grant(name);
    }
  }

  #request(tab, name, { steal = false, signal }, callback) {
    if (steal && signal) throw new DOMException('steal and signal', 'NotSupportedError');
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    return new Promise((resolve, reject) => {
      const entry = { tab, isHeld: false, callback, resolve, reject };
      if (steal) {
        const robbed = queue[0]?.isHeld ? queue.shift() : null;
        queue.unshift(entry);
        robbed?.reject(new DOMException('stolen', 'AbortError'));
      } else {
        queue.push(entry);
        signal?.addEventListener('abort', () => {
          if (entry.isHeld) return;
          this.#remove(name, entry);
          reject(signal.reason);
        });
      }
      queueMicrotask(() => this.#grant(name));
    });
  }

  async #grant(name) {
    const first = this.#queues.get(name)?.[0];
    if (!first || first.isHeld) return;
    first.isHeld = true;
    try {
      first.resolve(await first.callback({ name }));
    } catch (error) {
      first.reject(error);
    }
    this.#remove(name, first);
    this.#grant(name);
  }

  #remove(name, entry) {
    this.#queues.set(name, this.#queues.get(name).filter((each) => each !== entry));
  }
}

class Tab {
  hears = true;
  isGone = false;
  isFrozen = false;
  seen = { jobs: [], demos: [], states: [], resets: 0 };
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { hidden: false, querySelector: () => null });
  channels = new Set();

  constructor(browser, lacks) {
    this.browser = browser;
    const runs = (callback) => (...values) => this.isGone || this.isFrozen || callback(...values);
    const tab = this;
    this.globals = {
      document: this.document,
      navigator: { onLine: true, locks: browser.locks.for(this) },
      addEventListener: (...values) => this.window.addEventListener(...values),
      setTimeout: (callback, ms) => setTimeout(runs(callback), ms),
      clearTimeout: (id) => clearTimeout(id),
      fetch: (url, options) => browser.server.fetch(url, options, this),
      Date: { now: () => Date.now(), parse: (text) => Date.parse(text) },
      Math, crypto, console, AbortController, AbortSignal, DOMException, Event, queueMicrotask,
      EventSource: class {
        constructor(url) {
          this.listeners = new Map();
          this.tab = tab;
          this.id = '';
          browser.server.accept(this, url);
        }

        addEventListener(type, listener) {
          this.listeners.set(type, listener);
        }

        emit(type, data, id) {
          if (this.closed || tab.isGone || tab.isFrozen) return;
          if (id) this.id = id;
          this.listeners.get(type)?.({ data: JSON.stringify(data), lastEventId: this.id });
        }

        fail() {
          if (!this.closed) this.onerror?.({});
        }

        close() {
          this.closed = true;
          browser.server.sources.delete(this);
        }
      },
      BroadcastChannel: class {
        constructor(name) {
          this.name = name;
          tab.channels.add(this);
        }

        postMessage(message) {
          const text = JSON.stringify(message);
          browser.said.push(message);
          for (const other of browser.tabs) {
            for (const channel of other.channels) {
              if (channel === this || channel.name !== this.name || !other.hears) continue;
              other.deliver(() => other.channels.has(channel) && channel.onmessage?.({ data: JSON.parse(text) }));
            }
          }
        }

        close() {
          tab.channels.delete(this);
        }
      },
    };
    for (const name of lacks) {
      if (name === 'locks') delete this.globals.navigator.locks;
      else delete this.globals[name];
    }
    this.context = vm.createContext(this.globals);
  }

  waiting = [];

  deliver(callback) {
    setImmediate(() => {
      if (this.isFrozen) this.waiting.push(callback);
      else if (!this.isGone) callback();
    });
  }

  async load() {
    const modules = new Map();
    const get = (url) => {
      if (!modules.has(url.href)) {
        modules.set(url.href, new vm.SourceTextModule(readFileSync(url, 'utf8'), { context: this.context, identifier: url.href }));
      }
      return modules.get(url.href);
    };
    const main = get(MODULE);
    await main.link((specifier, from) => get(new URL(specifier, from.identifier)));
    await main.evaluate();
    this.repruv = main.namespace;
  }

  watch(options) {
    const { seen } = this;
    const handlers = {
      job: (job) => seen.jobs.push(job.version),
      demo: (demo) => seen.demos.push(demo.version),
      state: (state) => seen.states.push(state),
      reset: () => seen.resets++,
    };
    return (this.watched = this.repruv.watchEvents(handlers, { user: 'mina', ...options }));
  }

  show(visible) {
    this.document.hidden = !visible;
    this.document.dispatchEvent(new Event('visibilitychange'));
  }

  fire(type) {
    (type === 'freeze' || type === 'resume' ? this.document : this.window).dispatchEvent(new Event(type));
  }

  /** Stops it without a word, as operating systems do. */
  freeze() {
    this.isFrozen = true;
  }

  thaw() {
    this.isFrozen = false;
    for (const callback of this.waiting.splice(0)) callback();
  }

  crash() {
    this.isGone = true;
    this.channels.clear();
    for (const source of [...this.browser.server.sources]) if (source.tab === this) source.close();
    this.browser.locks.forget(this);
  }
}

class Server {
  sources = new Set();
  opened = [];
  requests = [];
  journal = [];
  oldest = 0;
  isUp = true;
  user = 'mina';
  answers = new Map();

  get position() {
    return this.journal.length;
  }

  async accept(source, url) {
    this.opened.push(url);
    this.sources.add(source);
    await new Promise((resolve) => setImmediate(resolve));
    if (source.closed) return;
    if (!this.isUp || !this.user) return source.fail();
    const cursor = new URL(url, 'http://x').searchParams.get('last_event_id');
    const after = Number(cursor ?? this.position);
    const isLost = after < this.oldest || after > this.position;
    source.emit('hello', { resumed: cursor !== null && !isLost, heartbeat_s: 15 }, String(isLost ? this.position : after));
    if (isLost) source.emit('reset', { reason: 'cursor_too_old' }, String(this.position));
    else for (const [index, job] of this.journal.entries()) if (index >= after) source.emit('job', job, String(index + 1));
    source.isOpen = true;
  }

  /** A transition of a job: it has an id. */
  async tell(job) {
    this.journal.push(job);
    await this.show('job', job, String(this.position));
  }

  async show(type, data, id = '') {
    for (const source of this.sources) if (source.isOpen) source.emit(type, data, id);
    await settle();
  }

  async fetch(url, { signal } = {}, tab) {
    signal?.throwIfAborted();
    this.requests.push({ url, tab });
    if (!this.isUp && !this.answers.has(url)) throw new TypeError('fetch failed');
    if (!this.user) return new Response('{}', { status: 401 });
    if (url === '/api/v1/auth/me') return Response.json({ user_id: this.user });
    const answer = this.answers.get(url);
    return answer === undefined ? new Response('{}', { status: 404 }) : Response.json(answer);
  }
}

export class Browser {
  locks = new Locks();
  server = new Server();
  tabs = [];
  said = [];

  constructor() {
    mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    mock.method(Math, 'random', () => 0.5);
  }

  /** A tab, with a watch whose page was rendered just now. */
  async tab({ lacks = [], hidden = false, watch = true, ...options } = {}) {
    const tab = new Tab(this, lacks);
    this.tabs.push(tab);
    tab.document.hidden = hidden;
    await tab.load();
    if (watch) tab.watch({ lastEventId: String(this.server.position), ...options });
    await settle();
    return tab;
  }

  get leader() {
    return [...this.server.sources].map((source) => source.tab);
  }

  async end() {
    for (const tab of this.tabs) tab.watched?.close();
    await settle();
    mock.timers.reset();
    mock.restoreAll();
  }
}

export { pass, settle };
