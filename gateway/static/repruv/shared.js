/* One stream for everything that watches a user: in this page, and in the browser's other tabs. */

import { memory, order } from './memory.js';
import { openStream } from './stream.js';
import { openTabs } from './tabs.js';

const PROTOCOL = 1; // tabs of different releases must not share what they would not understand
const ANSWER_WITHIN_MS = 1000;
const SILENCE_MS = 40_000; // pings reach all tabs, every 15 s
const hubs = new Map();

/**
 * Lets `member` take part in the stream of `user` at `url`: `{ lastEventId, take(type, data), state(state), catchUp(alone) }`.
 * `catchUp` is called when events cannot tell what the member may have missed; `alone` says that snapshots will not come by
 * the stream either. `options` are openStream's, with `snapshot(request, tell)`; the first member's count. Answers with a
 * watch, and with `signOut()` for a member that finds that the user has gone.
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
  const remembered = memory();
  const ended = new AbortController();
  const tabs = openTabs(name, { onLead: lead, onFollow: follow, onMessage: hear });
  let position = lastEventId; // the id of the last event that this page has
  let state = 'connecting';
  let stream = null; // only where this tab leads
  let isSure = true; // that the browser is still the user's: the page has only just been made
  let asking = false;
  let away = true;
  let patience;

  function lead() {
    clearTimeout(patience);
    asking = false;
    stream = openStream({
      ...options,
      isSure,
      lastEventId: position,
      snapshot(request) {
        say(state); // nothing else tells the others that somebody is polling
        return snapshot(request, tell);
      },
      onEvent: tell,
      // Which tab holds the stream is nobody's concern.
      onState: (next) => next !== 'closed' && (next !== 'connecting' || state === next) && say(next),
    });
    isSure = false;
  }

  function follow() {
    drop();
    ask(SILENCE_MS); // who has taken the lead is awake
  }

  function drop() {
    stream?.close();
    stream = null;
  }

  function say(next) {
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

  // One member's mistake is no other's.
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

  // What the leader's stream tells goes to all.
  function tell(type, data, id = '') {
    const frame = { type, data, id };
    tabs.send({ frame, before: position, state, hidden: document.hidden });
    take(frame);
  }

  function take({ type, data, id, isOurs = false }) {
    if (type === 'ping') return;
    if (type === 'reset' || (type === 'hello' && position === '')) {
      restart(id);
    } else if (id && type !== 'hello') {
      if (order(id) <= order(position)) return; // another leader had told it
      position = id;
    }
    remembered.note({ type, data, id });
    each([...members], (member) => {
      if (type === 'reset') member.catchUp(isOurs);
      member.take(type, data);
    });
  }

  function restart(id) {
    position = id;
    remembered.restart(id);
  }

  /* The leader sends frames, and where it stood `before` each: who is not as far has missed something, and asks. Whatever it
     sends says how the stream stands, too. */

  function hear(message) {
    if (stream) return message.ask && answer(message); // else the last words of a tab that led before
    if (message.ask || (message.to && message.to !== me)) return;
    isSure = false;
    wait(SILENCE_MS);
    if (message.to) hearAnswer(message);
    else if (message.frame) hearFrame(message);
    enter(message.state);
    // A hidden tab takes its time to reconnect, and somebody is looking at this one.
    if (message.state === 'reconnecting' && message.hidden && !document.hidden) tabs.steal();
  }

  function hearFrame({ frame, before }) {
    const isStart = frame.type === 'hello';
    const isGap = position !== '' && Math.max(order(before), isStart && order(frame.id)) > order(position);
    if (!isGap || frame.type === 'reset') take(frame);
    if (asking ? isStart || frame.type === 'ping' : isGap) ask();
  }

  function ask(ms = document.hidden ? SILENCE_MS : ANSWER_WITHIN_MS) {
    asking = true;
    tabs.send({ ask: me, after: position });
    wait(ms);
  }

  function answer({ ask: to, after }) {
    tabs.send({ to, frames: remembered.since(after), before: position, state, hidden: document.hidden });
  }

  function hearAnswer({ frames, before }) {
    if (before === '') return; // it has yet to hear of the stream itself; its `hello` makes us ask again
    asking = false;
    if (!frames) return take({ type: 'reset', data: { reason: 'cursor_too_old' }, id: before, isOurs: true });
    // A page may have been made with what the leader is yet to hear: then that is told once more.
    if (position === '' || order(position) > order(before)) restart(before);
    for (const frame of frames) take(frame);
  }

  // A leader that says nothing is frozen.
  function wait(ms) {
    clearTimeout(patience);
    if (!away) patience = setTimeout(tabs.steal, ms);
  }

  function enterTabs() {
    if (!away) return;
    away = false;
    tabs.join();
    if (!stream) ask();
  }

  // A page that stands still must hold neither stream nor lead. It comes back with the id it left with.
  function leaveTabs() {
    away = true;
    isSure = false;
    clearTimeout(patience);
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
      signOut: () => say('signed-out'),
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
    const frames = remembered.since(member.lastEventId);
    if (!frames) member.catchUp(true);
    for (const { type, data } of frames ?? [{ type: 'reset', data: { reason: 'cursor_too_old' } }]) member.take(type, data);
  }

  function start() {
    if (position) remembered.restart(position);
    for (const [target, stop, go] of [[globalThis, 'pagehide', 'pageshow'], [document, 'freeze', 'resume']]) {
      target.addEventListener(stop, leaveTabs, { signal: ended.signal });
      target.addEventListener(go, enterTabs, { signal: ended.signal });
    }
    document.addEventListener('visibilitychange', () => document.hidden || away || stream || ask(), { signal: ended.signal });
    enterTabs();
  }

  return { add };
}
