/* Repruv in the browser: how jobs and demo mode stand, by polling or as it happens. Types are in repruv.d.ts. */

import { HttpError, getter, pollUntil } from './repruv/http.js';
import { openStream } from './repruv/stream.js';

export { HttpError, pollUntil };

const API = '/api/v1';
const TYPES = ['job', 'demo', 'connection', 'notification'];
const TERMINAL = new Set(['completed', 'failed', 'cancelled']);
const MOVING = new Set(['enabling', 'disabling']);

/** Whether a job has ended. */
export const isTerminal = (job) => TERMINAL.has(job.status);

/** Whether demo mode is on its way from one state to another. */
export const isTransitioning = (demo) => MOVING.has(demo.status);

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
export function watchEvents(handlers, { url = `${API}/events`, lastEventId, pollInterval } = {}) {
  const tell = newerOnly(handlers);
  const demo = handlers.demo && getter(`${API}/demo/status`);
  const jobs = handlers.job && getter(`${API}/jobs?page_size=20`);
  return openStream({
    url,
    probe: `${API}/demo/status`,
    types: TYPES,
    lastEventId,
    pollInterval,
    onEvent: tell,
    onState: (state) => handlers.state?.(state),
    snapshot: async (options) => {
      if (demo) tell('demo', await demo(options));
      if (jobs) for (const job of (await jobs(options)).jobs) tell('job', job);
    },
  });
}

/** Watches one job: `update(job)` with each newer snapshot, `done(job)` once when it has ended, `state(state)`. */
export function watchJob(jobId, handlers, { lastEventId, pollInterval } = {}) {
  const path = `${API}/jobs/${encodeURIComponent(jobId)}`;
  const get = getter(path);
  const tell = newerOnly({
    job: (job) => {
      if (job.job_id !== jobId) return;
      handlers.update?.(job);
      if (!isTerminal(job)) return;
      stream.close(); // before `done`, so that it may watch the next one
      handlers.done?.(job);
    },
  });
  const stream = openStream({
    url: `${path}/events`,
    probe: path,
    types: ['job'],
    lastEventId,
    pollInterval,
    onEvent: tell,
    onState: (state) => handlers.state?.(state),
    snapshot: async (options) => tell('job', await get(options)),
  });
  return stream;
}

async function poll(type, url, until, onUpdate, options) {
  const get = getter(url);
  const tell = newerOnly({ [type]: onUpdate });
  return pollUntil(
    async (request) => {
      const value = await get(request);
      tell(type, value);
      return value;
    },
    { until, ...options },
  );
}

// Streams repeat, polls overtake: of each thing only what is newer than the last gets through. Demo mode's version
// stands still while its job makes progress, so there the same version with other content is news as well.
function newerOnly(handlers) {
  const known = new Map();
  return (type, data) => {
    if (data.version !== undefined) {
      const key = type === 'demo' ? type : `${type}/${data.job_id ?? data.platform ?? data.notification_id}`;
      const last = known.get(key);
      const text = type === 'demo' ? JSON.stringify(data) : '';
      if (last && (data.version < last.version || (data.version === last.version && text === last.text))) return;
      known.set(key, { version: data.version, text });
    }
    handlers[type]?.(data);
  };
}
