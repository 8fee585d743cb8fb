/* One event stream that stays: it resumes where it was cut, falls back to polling, and returns to streaming. */

import { HttpError } from './http.js';
import { snapshots } from './snapshots.js';

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
const FAILURES_BEFORE_POLLING = 4;
const STABLE_MS = 5000; // a stream that broke sooner counts as a failure in a row
const HELLO_WITHIN_MS = 10_000; // it is the first thing that is sent: on the way something keeps it back
const HEARTBEATS_MISSED = 2.5;
const DEFAULT_HEARTBEAT_S = 15;
const CONTROL = ['hello', 'ping', 'reset', 'bye'];

/**
 * Opens a stream and keeps it open until `close()`.
 *
 * `onEvent(type, data, id)` gets each of `types`, and `hello`, `ping`, `reset` and `bye`. `onState(state)` gets
 * `connecting`, `open`, `reconnecting`, `polling`, `offline`, `signed-out` and `closed`. `snapshot({ signal })` fetches
 * what events would have told: it is called when events may have been missed, and every `pollInterval` ms while nothing
 * streams. `onMissing(error)` is called, after the end, when there is nothing to stream; without it, an answer like that is
 * only logged. `ask({ signal })` throws what says why a stream was refused, which an EventSource does not. With `isSure`
 * true or false it also tells whether the browser is still signed in as the page was, and is called before every
 * connection, but for the first if that is sure.
 */
export function openStream({ url, ask, types, lastEventId = '', isSure, snapshot, pollInterval = 5000, onEvent, onState, onMissing }) {
  const ended = new AbortController();
  const isCautious = isSure !== undefined;
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
  let attempt = 0; // tells a probe that is still under way that its time has passed

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
    // Browsers give an event without an id that of the one before.
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
    if (!reason.startsWith('session')) return lost();
    if (!isCautious) return signOut();
    drop(); // the user may have signed in again in another tab
    reconnect();
  }

  function watch() {
    clearTimeout(watchdog);
    watchdog = openedAt === null ? setTimeout(mute, HELLO_WITHIN_MS) : setTimeout(lost, HEARTBEATS_MISSED * heartbeat);
  }

  // A proxy that keeps back what streams will do so again: nobody has to wait for more failures.
  function mute() {
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
    // A hidden tab is in no hurry, and a thousand of them would all come at once.
    const most = document.hidden ? LAST_RETRY_MS : Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LAST_RETRY_MS);
    retryIn(Math.random() * most);
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
    const mine = ++attempt;
    if (refused || isCautious) {
      try {
        await ask({ signal: ended.signal });
      } catch (error) {
        if (mine !== attempt || ended.signal.aborted) return;
        if (error.signedOut || (error.status === 404 && onMissing)) return onRefused(error);
        if (error.retryAfter) return retryIn(error.retryAfter + Math.random() * FIRST_RETRY_MS);
        if (!(error instanceof HttpError)) throw error;
        if (isCautious) return lost();
      }
      if (mine !== attempt || ended.signal.aborted) return;
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

  // A page in the back-forward cache must hold no connection, and comes back with the id it left with.
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
  // After a sleep the stream may look open and be dead: timers stood still as well.
  on(document, 'visibilitychange', () => {
    if (document.hidden || away) return;
    if (retry !== undefined) reconnect();
    else if (source && Date.now() - frameAt > HEARTBEATS_MISSED * heartbeat) resume();
  });

  enter('connecting');
  if (isSure === false) reconnect();
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
    console.error('An event that is not JSON was left out', text);
    return {};
  }
}
