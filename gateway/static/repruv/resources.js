/* What streams tell of: which snapshot is of which thing, which is newer, and which can wait for somebody to look. */

const TERMINAL = new Set(['completed', 'failed', 'cancelled']);
const MOVING = new Set(['enabling', 'disabling']);
const REMEMBERED = 1000;
const NAMES = { job: 'job_id', connection: 'platform', notification: 'notification_id' };

/** The types of events that are snapshots. */
export const TYPES = ['job', 'demo', 'connection', 'notification'];

/** Whether a job has ended. */
export const isTerminal = (job) => TERMINAL.has(job.status);

/** Whether demo mode is on its way from one state to another. */
export const isTransitioning = (demo) => MOVING.has(demo.status);

/** Which thing an event is a snapshot of; empty for the stream's own words. */
export const resource = (type, data) => (TYPES.includes(type) ? `${type}/${data[NAMES[type]] ?? ''}` : '');

/**
 * Streams repeat, polls overtake: of each thing only what is newer than the last gets through to `tell`. Demo mode's
 * version stands still while its job makes progress, so there the same version with other content is news as well.
 */
export function newerOnly(tell) {
  const known = new Map();
  return (type, data) => {
    if (data.version !== undefined) {
      const key = resource(type, data);
      const last = known.get(key);
      const text = type === 'demo' ? JSON.stringify(data) : '';
      if (last && (data.version < last.version || (data.version === last.version && text === last.text))) return;
      known.delete(key);
      known.set(key, { version: data.version, text });
      if (known.size > REMEMBERED) known.delete(known.keys().next().value);
    }
    tell(type, data);
  };
}

/**
 * While the tab is hidden, keeps the newest snapshot of each thing and tells it when somebody looks. `background` says
 * what is told at once all the same: `ends` (ended jobs, demo mode at rest, notifications), `all` or `none`.
 * `drop()` forgets what is kept.
 */
export function whenSeen(tell, background = 'ends') {
  const kept = new Map();

  function flush() {
    if (document.hidden) return;
    const due = [...kept.values()];
    drop();
    for (const [type, data] of due) tell(type, data);
  }

  function drop() {
    kept.clear();
    document.removeEventListener('visibilitychange', flush);
  }

  function take(type, data) {
    const key = resource(type, data);
    kept.delete(key);
    if (!key || !document.hidden || background === 'all' || (background === 'ends' && isEnd(type, data))) return tell(type, data);
    document.addEventListener('visibilitychange', flush);
    kept.set(key, [type, data]);
  }

  return { take, drop };
}

function isEnd(type, data) {
  return type === 'notification' || (type === 'job' && isTerminal(data)) || (type === 'demo' && !isTransitioning(data));
}
