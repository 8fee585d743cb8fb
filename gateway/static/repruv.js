/* Repruv in the browser: how jobs and demo mode stand, by polling or as it happens. Types are in repruv.d.ts. */

import { HttpError, getter, pollUntil, signedInAs } from './repruv/http.js';
import { TYPES, isTerminal, isTransitioning, newerOnly, whenSeen } from './repruv/resources.js';
import { join } from './repruv/shared.js';
import { snapshots } from './repruv/snapshots.js';
import { openStream } from './repruv/stream.js';

export { HttpError, isTerminal, isTransitioning, pollUntil };

const API = '/api/v1';
const EVENTS = `${API}/events`;
const POLL_MS = 5000;
const ENDS = new Set(['closed', 'signed-out']);

/** Polls a job until it has ended, and answers with it; `onUpdate(job)` gets each newer snapshot on the way. */
export function pollJobStatus(jobId, { onUpdate, ...options } = {}) {
  return poll('job', `${API}/jobs/${encodeURIComponent(jobId)}/status`, isTerminal, onUpdate, options);
}

/** Polls demo mode until it stands still, and answers with it; `onUpdate(demo)` gets each newer snapshot on the way. */
export function pollDemoStatus({ onUpdate, ...options } = {}) {
  return poll('demo', `${API}/demo/status`, (demo) => !isTransitioning(demo), onUpdate, options);
}

/**
 * Watches everything of the signed-in user. Handlers by name: `job`, `demo`, `connection`, `notification` get newer
 * snapshots only, `hello`, `reset` and `bye` get the stream's own words, `state` gets how the stream stands.
 */
export function watchEvents(handlers, options = {}) {
  const { url = EVENTS, user = pageUser(), lastEventId = '', pollInterval = POLL_MS, background } = options;
  const tell = (type, data) => handlers[type]?.(data);
  const member = watcher(handlers, tell, { lastEventId, background });
  const fetch = everything(handlers);
  if (user) return share(member, fetch, { url, user, pollInterval });
  return alone(member, fetch, { url, ask: getter(`${API}/demo/status`), types: TYPES, pollInterval });
}

/**
 * Watches one job: `update(job)` with each newer snapshot, `done(job)` once when it has ended, `missing(error)` instead if
 * there is no such job, `state(state)`.
 */
export function watchJob(jobId, handlers, { user = pageUser(), lastEventId = '', pollInterval = POLL_MS, background } = {}) {
  const path = `${API}/jobs/${encodeURIComponent(jobId)}`;
  const get = getter(path);
  const tell = (_, job) => {
    handlers.update?.(job);
    if (!isTerminal(job)) return;
    watch.close(); // before `done`, so that it may watch the next one
    handlers.done?.(job);
  };
  const isOurs = (type, data) => type === 'job' && data.job_id === jobId;
  const member = watcher(handlers, tell, { lastEventId, background, isOurs });
  const fetch = async (request, take) => take('job', await get(request));
  const onMissing = (error) => handlers.missing?.(error);
  const watch = user
    ? share(member, fetch, { url: EVENTS, user, pollInterval, onMissing })
    : alone(member, fetch, { url: `${path}/events`, ask: get, types: ['job'], pollInterval, onMissing });
  return watch;
}

function watcher(handlers, tell, { lastEventId, background, isOurs = () => true }) {
  const seen = whenSeen(tell, background);
  const newer = newerOnly(seen.take);
  return {
    lastEventId,
    take: (type, data) => isOurs(type, data) && newer(type, data),
    state(next) {
      if (ENDS.has(next)) seen.drop();
      handlers.state?.(next);
    },
  };
}

// Gives a watcher a stream of its own.
function alone({ lastEventId, take, state }, fetch, options) {
  return openStream({ ...options, lastEventId, onEvent: take, onState: state, snapshot: (request) => fetch(request, take) });
}

// Lets a watcher take part in the user's stream. One that may find its thing missing polls for it, while the stream polls for all.
function share(member, fetch, { url, user, pollInterval, onMissing }) {
  const ask = signedInAs(user);
  const all = everything({ demo: true, job: true });
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
      catchUp: (isAlone) => (isAlone || onMissing) && own.once(),
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

function everything({ demo, job }) {
  const getDemo = demo && getter(`${API}/demo/status`);
  const getJobs = job && getter(`${API}/jobs?page_size=20`);
  return async (request, take) => {
    if (getDemo) take('demo', await getDemo(request));
    if (getJobs) for (const each of (await getJobs(request)).jobs) take('job', each);
  };
}

// Only pages that say whose they are share a stream: two users of one browser must never mix.
function pageUser() {
  return document.querySelector('meta[name="repruv-user"]')?.content;
}

async function poll(type, url, until, onUpdate, options) {
  const get = getter(url);
  const tell = newerOnly((_, value) => onUpdate?.(value));
  return pollUntil(
    async (request) => {
      const value = await get(request);
      tell(type, value);
      return value;
    },
    { until, ...options },
  );
}
