/* One stream for all watchers of a user: in this page, and in the browser's other tabs. */

import { memory, order } from './memory.js';
import { openStream } from './stream.js';
import { openTabs } from './tabs.js';

const PROTOCOL = 1; // tabs of incompatible releases must not share a stream
const ANSWER_WITHIN_MS = 1000;
const SILENCE_MS = 40_000; // pings reach all tabs, every 15 s
const hubs = new Map();

/**
 * Adds `member` to the stream of `user` at `url`: `{ lastEventId, take(type, data), state(state), catchUp(isOwn) }`.
 * `catchUp` is called when the member may have missed events that cannot be replayed; with `isOwn` the stream does not fetch
 * snapshots either. `options` are those of openStream, with `snapshot(request, publish)`; the first member's count. Returns
 * a watch, and `signOut()` for a member that finds the user signed out.
 */
export function join(member, { user, url, ...options }) {
  const name = `repruv/${PROTOCOL} ${user} ${url}`;
  let hub = hubs.get(name);
  if (!hub) hubs.set(name, (hub = openHub(name, { url, ...options }, member.lastEventId, () => hubs.delete(name))));
  return hub.add(member);
}

function openHub(name, { snapshot, ...options }, lastEventId, onEnd) {
  const me = crypto.getRandomValues(new Uint32Array(4)).join('-');
  const members = new Set();
  const frames = memory();
  const ended = new AbortController();
  const tabs = openTabs(name, { onLead: lead, onFollow: follow, onMessage });
  let position = lastEventId; // the id of the last event that this page has
  let state = 'connecting';
  let stream = null; // only where this tab leads
  let isVerified = true; // the browser is signed in as the user: the page is new
  let isCatchingUp = false;
  let away = true;
  let silenceTimer;

  function lead() {
    clearTimeout(silenceTimer);
    isCatchingUp = false;
    stream = openStream({
      ...options,
      isVerified,
      lastEventId: position,
      snapshot(request) {
        broadcast(state); // while polling, nothing else reaches the other tabs
        return snapshot(request, publish);
      },
      onEvent: publish,
      // A change of the leader is not shown.
      onState: (next) => next !== 'closed' && (next !== 'connecting' || state === next) && broadcast(next),
    });
    isVerified = false;
  }

  function follow() {
    drop();
    requestMissed(SILENCE_MS); // the new leader is awake
  }

  function drop() {
    stream?.close();
    stream = null;
  }

  function broadcast(next) {
    tabs.send({ state: next, hidden: document.hidden });
    enter(next);
  }

  function enter(next) {
    if (next === state) return;
    state = next;
    const all = [...members];
    if (next === 'signed-out') end();
    each(all, (member) => member.state(next));
  }

  // An error in one member does not reach the others.
  function each(all, call) {
    for (const member of all) {
      try {
        call(member);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  // The leader sends every event to all tabs.
  function publish(type, data, id = '') {
    const frame = { type, data, id };
    tabs.send({ frame, before: position, state, hidden: document.hidden });
    take(frame);
  }

  function take({ type, data, id, isOwn = false }) {
    if (type === 'ping') return;
    if (type === 'reset' || (type === 'hello' && position === '')) {
      restart(id);
    } else if (id && type !== 'hello') {
      if (order(id) <= order(position)) return; // from the leader before
      position = id;
    }
    frames.note({ type, data, id });
    each([...members], (member) => {
      if (type === 'reset') member.catchUp(isOwn);
      member.take(type, data);
    });
  }

  function restart(id) {
    position = id;
    frames.restart(id);
  }

  /* The leader sends each frame with its position `before` it: a tab that is not as far has missed frames, and requests them.
     Each message has the state of the stream, too. */

  function onMessage(message) {
    if (stream) return message.ask && answer(message); // all others are from the leader before
    if (message.ask || (message.to && message.to !== me)) return;
    isVerified = false;
    stealAfter(SILENCE_MS);
    if (message.to) onAnswer(message);
    else if (message.frame) onFrame(message);
    enter(message.state);
    // A hidden leader reconnects slowly, and this tab is visible.
    if (message.state === 'reconnecting' && message.hidden && !document.hidden) tabs.steal();
  }

  function onFrame({ frame, before }) {
    const isStart = frame.type === 'hello';
    const isGap = position !== '' && Math.max(order(before), isStart && order(frame.id)) > order(position);
    if (!isGap || frame.type === 'reset') take(frame);
    if (isCatchingUp ? isStart || frame.type === 'ping' : isGap) requestMissed();
  }

  function requestMissed(ms = document.hidden ? SILENCE_MS : ANSWER_WITHIN_MS) {
    isCatchingUp = true;
    tabs.send({ ask: me, after: position });
    stealAfter(ms);
  }

  function answer({ ask: to, after }) {
    tabs.send({ to, frames: frames.since(after), before: position, state, hidden: document.hidden });
  }

  function onAnswer({ frames: missed, before }) {
    if (before === '') return; // the leader has no position yet; its `hello` causes another request
    isCatchingUp = false;
    if (!missed) return take({ type: 'reset', data: { reason: 'cursor_too_old' }, id: before, isOwn: true });
    // The page may be ahead of the leader: then some events come again.
    if (position === '' || order(position) > order(before)) restart(before);
    for (const frame of missed) take(frame);
  }

  // A silent leader is frozen.
  function stealAfter(ms) {
    clearTimeout(silenceTimer);
    if (!away) silenceTimer = setTimeout(tabs.steal, ms);
  }

  function enterTabs() {
    if (!away) return;
    away = false;
    tabs.join();
    if (!stream) requestMissed();
  }

  // A frozen page must hold neither stream nor lead. It resumes from its position.
  function leaveTabs() {
    away = true;
    isVerified = false;
    clearTimeout(silenceTimer);
    tabs.leave();
    drop();
  }

  function end() {
    if (ended.signal.aborted) return;
    ended.abort();
    onEnd();
    members.clear();
    leaveTabs();
  }

  function add(member) {
    members.add(member);
    member.state(state);
    if (away && members.size === 1 && !ended.signal.aborted) start();
    if (!member.lastEventId) member.catchUp(true);
    else if (members.size > 1) queueMicrotask(() => members.has(member) && replay(member));
    return {
      signOut: () => broadcast('signed-out'),
      watch: {
        close() {
          if (!members.delete(member)) return;
          if (!members.size) end();
          member.state('closed');
        },
        get state() {
          return members.has(member) ? state : 'closed';
        },
        get lastEventId() {
          return position;
        },
      },
    };
  }

  function replay(member) {
    const missed = frames.since(member.lastEventId);
    if (!missed) member.catchUp(true);
    for (const { type, data } of missed ?? [{ type: 'reset', data: { reason: 'cursor_too_old' } }]) member.take(type, data);
  }

  function start() {
    if (position) frames.restart(position);
    for (const [target, stop, go] of [[globalThis, 'pagehide', 'pageshow'], [document, 'freeze', 'resume']]) {
      target.addEventListener(stop, leaveTabs, { signal: ended.signal });
      target.addEventListener(go, enterTabs, { signal: ended.signal });
    }
    document.addEventListener('visibilitychange', () => document.hidden || away || stream || requestMissed(), { signal: ended.signal });
    enterTabs();
  }

  return { add };
}
