/* One event stream that reconnects: it resumes where it broke, falls back to polling, and returns to streaming. */

import { HttpError } from './http.js';
import { snapshots } from './snapshots.js';

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
const FAILURES_BEFORE_POLLING = 4;
const STABLE_MS = 5000; // a stream that broke sooner counts as a failure in a row
const HELLO_WITHIN_MS = 10_000; // the first frame: without it a proxy is buffering
const GRACE_MS = 5000; // a ping comes within each heartbeat: without it the gateway hangs, or the connection is dead
const DEFAULT_HEARTBEAT_S = 15;
const CROWDED_MS = 30_000; // with a short retry, too many streams of a user would end each other endlessly
const CONTROL = ['hello', 'ping', 'reset', 'bye'];

/**
 * Opens a stream and keeps it open until `close()`.
 *
 * `onEvent(type, data, id)` gets each of `types`, and `hello`, `ping`, `reset` and `bye`. `onState(state)` gets
 * `connecting`, `open`, `reconnecting`, `polling`, `offline`, `signed-out` and `closed`. `snapshot({ signal })` fetches the
 * snapshots: it is called when events may have been missed, and every `pollInterval` ms while polling. `onMissing(error)` is
 * called, after the end, if the answer is 404; without it, that is only logged. `ask({ signal })` throws the reason of a
 * refusal, which an EventSource does not have. With `isVerified` (true or false) it also throws if the browser is no longer
 * signed in as the user, and is called before every connection, except the first if `isVerified`.
 */
export function openStream({ url, ask, types, lastEventId = '', isVerified, snapshot, pollInterval = 5000, onEvent, onState, onMissing }) {
  const ended = new AbortController();
  const isCautious = isVerified !== undefined;
  const fetching = snapshots(snapshot, { interval: pollInterval, onRefused });
  let state = '';
  let source = null;
  let failures = 0;
  let heartbeat = DEFAULT_HEARTBEAT_S * 1000;
  let openedAt = null; // until hello
  let frameAt = 0;
  let refused = false; // the last attempt never said hello
  let watchdog;
  let retry;
  let attempt = 0; // a probe with another number is out of date

  function enter(next) {
    if (next === state || state === 'closed') return;
    state = next;
    onState(next);
  }

  function connect() {
    drop();
    frameAt = Date.now();
    openedAt = null;
    const opened = new EventSource(lastEventId ? `${url}?last_event_id=${encodeURIComponent(lastEventId)}` : url);
    source = opened;
    for (const type of [...CONTROL, ...types]) opened.addEventListener(type, (event) => opened === source && receive(type, event));
    opened.onerror = () => opened === source && lost();
    watch();
  }

  function receive(type, event) {
    frameAt = Date.now();
    watch();
    // Browsers report the previous id for an event without one.
    const id = event.lastEventId === lastEventId && !CONTROL.includes(type) ? '' : event.lastEventId;
    if (event.lastEventId) lastEventId = event.lastEventId;
    const data = parse(event.data);
    if (type === 'hello') {
      heartbeat = (data.heartbeat_s || DEFAULT_HEARTBEAT_S) * 1000;
      openedAt = Date.now();
      refused = false;
      fetching.stop();
      enter('open');
      watch();
    } else if (type === 'reset') {
      fetching.once();
    }
    onEvent(type, data, id);
    if (type === 'bye') leave(data.reason ?? '');
  }

  function leave(reason) {
    if (reason === 'too_many_streams') return yieldPlace();
    if (!reason.startsWith('session')) return lost();
    if (!isCautious) return signOut();
    drop(); // the user may have signed in again in another tab
    reconnect();
  }

  function yieldPlace() {
    drop();
    enter('polling');
    fetching.start();
    retryIn(CROWDED_MS * (1 + Math.random()));
  }

  function watch() {
    clearTimeout(watchdog);
    watchdog = openedAt === null ? setTimeout(startPolling, HELLO_WITHIN_MS) : setTimeout(lost, heartbeat + GRACE_MS);
  }

  // A buffering proxy will buffer again, so there is no need to wait for more failures.
  function startPolling() {
    failures = Math.max(failures, FAILURES_BEFORE_POLLING);
    lost();
  }

  function lost() {
    const stable = openedAt !== null && Date.now() - openedAt >= STABLE_MS;
    refused = openedAt === null;
    failures = stable ? 1 : failures + 1;
    drop();
    const offline = globalThis.navigator?.onLine === false;
    const poll = failures > FAILURES_BEFORE_POLLING;
    enter(offline ? 'offline' : poll ? 'polling' : 'reconnecting');
    if (poll) fetching.start();
    // Hidden tabs reconnect later, so that not all tabs reconnect at once.
    const longest = document.hidden ? LAST_RETRY_MS : Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LAST_RETRY_MS);
    retryIn(Math.random() * longest);
  }

  function resume() {
    if (isCautious) reconnect();
    else connect();
  }

  function retryIn(ms) {
    clearTimeout(retry);
    retry = setTimeout(reconnect, ms);
  }

  async function reconnect() {
    clearTimeout(retry);
    retry = undefined;
    const current = ++attempt;
    if (refused || isCautious) {
      try {
        await ask({ signal: ended.signal });
      } catch (error) {
        if (current !== attempt || ended.signal.aborted) return;
        if (error.signedOut || (error.status === 404 && onMissing)) return onRefused(error);
        if (error.retryAfter) return retryIn(error.retryAfter + Math.random() * FIRST_RETRY_MS);
        if (!(error instanceof HttpError)) throw error;
        if (isCautious) return lost();
      }
      if (current !== attempt || ended.signal.aborted) return;
    }
    connect();
  }

  function drop() {
    attempt += 1;
    clearTimeout(watchdog);
    clearTimeout(retry);
    retry = undefined;
    source?.close();
    source = null;
    openedAt = null;
  }

  function onRefused(error) {
    if (error.signedOut) return signOut();
    if (error.status !== 404 || !onMissing) return console.error(error);
    finish('closed');
    onMissing(error);
  }

  function signOut() {
    finish('signed-out');
  }

  function finish(last) {
    enter(last);
    state = 'closed';
    drop();
    fetching.close();
    ended.abort();
  }

  function on(target, type, listener) {
    target?.addEventListener(type, listener, { signal: ended.signal });
  }

  // A page in the back-forward cache must hold no connection; it resumes with its last id.
  let away = false;
  on(globalThis, 'pagehide', () => {
    away = true;
    drop();
    fetching.stop();
  });
  on(globalThis, 'pageshow', () => {
    if (away) resume();
    away = false;
  });
  on(globalThis, 'online', () => !source && !away && reconnect());
  on(globalThis, 'offline', () => !away && lost());
  // After a sleep of the device the stream may look open and be dead, because timers stopped too.
  on(document, 'visibilitychange', () => {
    if (document.hidden || away) return;
    if (retry !== undefined) reconnect();
    else if (source && Date.now() - frameAt > heartbeat + GRACE_MS) resume();
  });

  enter('connecting');
  if (isVerified === false) reconnect();
  else connect();
  return {
    close: () => state === 'closed' || finish('closed'),
    get state() {
      return state;
    },
    get lastEventId() {
      return lastEventId;
    },
  };
}

function parse(text) {
  try {
    return JSON.parse(text || '{}');
  } catch {
    console.error('Ignored an event that is not JSON', text);
    return {};
  }
}
