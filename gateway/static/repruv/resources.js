/* The resources of a stream: which snapshot is of which resource, which is newer, and which a hidden tab gets at once. */

const TERMINAL = new Set(['completed', 'failed', 'cancelled']);
const TRANSITIONS = new Set(['enabling', 'disabling']);
const MAX_RESOURCES = 1000;

/** Whether a job has ended. */
export const isTerminal = (job) => TERMINAL.has(job.status);

/** Whether demo mode is in a transition. */
export const isTransitioning = (demo) => TRANSITIONS.has(demo.status);

/**
 * The types of events that are snapshots. `key` is the field that tells resources of a type apart. `isEnd` holds for
 * snapshots that a hidden tab gets at once. `path`, and `list` within its answer, is where polls fetch the snapshots.
 * With `isDetailed` other content of the same version is newer too.
 */
export const RESOURCES = {
  // The version of demo mode stays the same while its job makes progress.
  demo: { isEnd: (demo) => !isTransitioning(demo), path: '/demo/status', isDetailed: true },
  job: { key: 'job_id', isEnd: isTerminal, path: '/jobs?page_size=20', list: 'jobs' },
  connection: { key: 'platform' },
  export: { isEnd: (snapshot) => snapshot.status !== 'exporting' },
  notification: { isEnd: () => true },
};

export const TYPES = Object.keys(RESOURCES);

/** The resource of a snapshot; empty for events that are none. */
export const resource = (type, data) => (RESOURCES[type] ? `${type}/${data[RESOURCES[type].key] ?? ''}` : '');

/** Calls `next` only with snapshots that are newer than the last of their resource: streams repeat, and polls overtake. */
export function dropStale(next) {
  const latest = new Map();
  return (type, data) => {
    if (data.version !== undefined) {
      const key = resource(type, data);
      const last = latest.get(key);
      const text = RESOURCES[type]?.isDetailed ? JSON.stringify(data) : '';
      if (last && (data.version < last.version || (data.version === last.version && text === last.text))) return;
      latest.delete(key);
      latest.set(key, { version: data.version, text });
      if (latest.size > MAX_RESOURCES) latest.delete(latest.keys().next().value);
    }
    next(type, data);
  };
}

/**
 * While the tab is hidden, keeps the newest snapshot of each resource, and calls `next` with it when the tab is shown.
 * `background` names the exceptions: `ends` (ended jobs, settled demo mode, notifications), `all` or `none`.
 * `drop()` drops what is kept.
 */
export function deferWhileHidden(next, background = 'ends') {
  const deferred = new Map();

  function flush() {
    if (document.hidden) return;
    const snapshots = [...deferred.values()];
    drop();
    for (const [type, data] of snapshots) next(type, data);
  }

  function drop() {
    deferred.clear();
    document.removeEventListener('visibilitychange', flush);
  }

  function take(type, data) {
    const key = resource(type, data);
    deferred.delete(key);
    const isException = background === 'all' || (background === 'ends' && RESOURCES[type]?.isEnd?.(data));
    if (!key || !document.hidden || isException) return next(type, data);
    document.addEventListener('visibilitychange', flush);
    deferred.set(key, [type, data]);
  }

  return { take, drop };
}
