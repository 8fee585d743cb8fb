/* Repruv in the browser: jobs and demo mode, by polling or as a live stream. Types are in repruv.d.ts. */

import { HttpError, getter, pollUntil, signedInAs } from './repruv/http.js';
import { RESOURCES, TYPES, deferWhileHidden, dropStale, isTerminal, isTransitioning } from './repruv/resources.js';
import { join } from './repruv/shared.js';
import { snapshots } from './repruv/snapshots.js';
import { openStream } from './repruv/stream.js';

export { HttpError, isTerminal, isTransitioning, pollUntil };

const API = '/api/v1';
const EVENTS = `${API}/events`;
const POLL_MS = 5000;
const ENDS = new Set(['closed', 'signed-out']);

/** Polls a job until it has ended, and resolves with it; `onUpdate(job)` gets each newer snapshot. */
export function pollJobStatus(jobId, { onUpdate, ...options } = {}) {
  return poll('job', `${API}/jobs/${encodeURIComponent(jobId)}/status`, isTerminal, onUpdate, options);
}

/** Polls demo mode until it is in no transition, and resolves with it; `onUpdate(demo)` gets each newer snapshot. */
export function pollDemoStatus({ onUpdate, ...options } = {}) {
  return poll('demo', `${API}/demo/status`, (demo) => !isTransitioning(demo), onUpdate, options);
}

/**
 * Watches everything of the signed-in user. The handlers `job`, `demo`, `connection` and `notification` get newer
 * snapshots only, `hello`, `reset` and `bye` get the control events of the stream, `state` gets its state.
 */
export function watchEvents(handlers, options = {}) {
  const { url = EVENTS, user = pageUser(), lastEventId = '', pollInterval = POLL_MS, background } = options;
  const dispatch = (type, data) => handlers[type]?.(data);
  const member = watcher(handlers, dispatch, { lastEventId, background });
  const fetch = fetcher(handlers);
  if (user) return share(member, fetch, { url, user, pollInterval });
  return alone(member, fetch, { url, ask: getter(`${API}/demo/status`), types: TYPES, pollInterval });
}

/**
 * Watches one job: calls `update(job)` with each newer snapshot, `done(job)` once when it has ended, `missing(error)`
 * instead if there is no such job, and `state(state)`.
 */
export function watchJob(jobId, handlers, { user = pageUser(), lastEventId = '', pollInterval = POLL_MS, background } = {}) {
  const path = `${API}/jobs/${encodeURIComponent(jobId)}`;
  const get = getter(path);
  const dispatch = (_, job) => {
    handlers.update?.(job);
    if (!isTerminal(job)) return;
    watch.close(); // before `done`, so that it may watch the next one
    handlers.done?.(job);
  };
  const accepts = (type, data) => type === 'job' && data.job_id === jobId;
  const member = watcher(handlers, dispatch, { lastEventId, background, accepts });
  const fetch = async (request, take) => take('job', await get(request));
  const onMissing = (error) => handlers.missing?.(error);
  const watch = user
    ? share(member, fetch, { url: EVENTS, user, pollInterval, onMissing })
    : alone(member, fetch, { url: `${path}/events`, ask: get, types: ['job'], pollInterval, onMissing });
  return watch;
}

function watcher(handlers, dispatch, { lastEventId, background, accepts = () => true }) {
  const deferred = deferWhileHidden(dispatch, background);
  const takeNewer = dropStale(deferred.take);
  return {
    lastEventId,
    take: (type, data) => accepts(type, data) && takeNewer(type, data),
    state(next) {
      if (ENDS.has(next)) deferred.drop();
      handlers.state?.(next);
    },
  };
}

// Gives a watcher a stream of its own.
function alone({ lastEventId, take, state }, fetch, options) {
  return openStream({ ...options, lastEventId, onEvent: take, onState: state, snapshot: (request) => fetch(request, take) });
}

// Adds a watcher to the user's shared stream. One with `onMissing` polls its own job, because the stream's polls do not find it missing.
function share(member, fetch, { url, user, pollInterval, onMissing }) {
  const ask = signedInAs(user);
  const all = fetcher(RESOURCES);
  const guarded = (fetch) => async (request, take) => {
    await ask(request);
    await fetch(request, take);
  };
  const own = snapshots((request) => guarded(fetch)(request, member.take), {
    interval: pollInterval,
    onRefused(error) {
      if (error.signedOut) return joined.signOut();
      if (error.status !== 404 || !onMissing) return console.error(error);
      joined.watch.close();
      onMissing(error);
    },
  });
  const joined = join(
    {
      ...member,
      catchUp: (isOwn) => (isOwn || onMissing) && own.once(),
      state(next) {
        if (ENDS.has(next)) own.close();
        else if (onMissing && next === 'polling') own.start();
        else own.stop();
        member.state(next);
      },
    },
    { user, url, ask, types: TYPES, pollInterval, snapshot: guarded(all) },
  );
  return joined.watch;
}

// A function that fetches the snapshots of each type that has a handler.
function fetcher(handlers) {
  const types = TYPES.filter((type) => RESOURCES[type].path && handlers[type]);
  const fetches = types.map((type) => [type, RESOURCES[type].list, getter(API + RESOURCES[type].path)]);
  return async (request, take) => {
    for (const [type, list, get] of fetches) {
      const answer = await get(request);
      for (const snapshot of list ? answer[list] : [answer]) take(type, snapshot);
    }
  };
}

// Only pages that name their user share a stream: events of two users of one browser must never mix.
function pageUser() {
  return document.querySelector('meta[name="repruv-user"]')?.content;
}

async function poll(type, url, until, onUpdate, options) {
  const get = getter(url);
  const update = dropStale((_, value) => onUpdate?.(value));
  return pollUntil(
    async (request) => {
      const value = await get(request);
      update(type, value);
      return value;
    },
    { until, ...options },
  );
}
