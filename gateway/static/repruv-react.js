/* Hooks for React 18 and later. They render on servers, and start in browsers. Types are in repruv-react.d.ts. */

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';

import { isTerminal, pollUntil, watchJob } from './repruv.js';

/**
 * The live state of a job: `{ job, state, error }`. Without a job id the hook waits for one. `initial` is the job when the
 * server rendered the page, `lastEventId` the cursor of the page.
 */
export function useJob(jobId, { initial = null, lastEventId, user, pollInterval, background } = {}) {
  const store = useMemo(
    () => jobStore(jobId, initial?.job_id === jobId ? initial : null, { lastEventId, user, pollInterval, background }),
    // A new `initial` does not restart the watch.
    [jobId, user, pollInterval, background],
  );
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

/**
 * The newest result of `fn({ signal })`, called until `until(value)` holds: `{ value, error, isDone }`. Another `key`
 * restarts polling; `enabled: false` waits. The other options are those of pollUntil.
 */
export function usePoll(fn, { key = '', enabled = true, until = () => false, interval, maxInterval, timeout } = {}) {
  const latest = useRef({ fn, until });
  useEffect(() => {
    latest.current = { fn, until };
  });
  const store = useMemo(
    () => pollStore(latest, enabled, { interval, maxInterval, timeout }),
    [key, enabled, interval, maxInterval, timeout],
  );
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

function jobStore(jobId, initial, options) {
  const isIdle = !jobId || (initial !== null && isTerminal(initial));
  let { lastEventId } = options;
  return store({ job: initial, state: isIdle ? 'closed' : 'connecting', error: null }, (get, set) => {
    if (!jobId || (get().job && isTerminal(get().job))) return () => {};
    const watch = watchJob(
      jobId,
      {
        update: (job) => (get().job?.version ?? -1) < job.version && set({ job }),
        state: (state) => set({ state }),
        missing: (error) => set({ error }),
      },
      { ...options, lastEventId },
    );
    return () => {
      lastEventId = watch.lastEventId || lastEventId; // a remounted component resumes
      watch.close();
    };
  });
}

function pollStore(latest, enabled, options) {
  return store({ value: undefined, error: null, isDone: false }, (get, set) => {
    if (!enabled || get().isDone) return () => {};
    const ended = new AbortController();
    const call = async (request) => {
      const value = await latest.current.fn(request);
      if (!Object.is(value, get().value)) set({ value });
      return value;
    };
    const until = (value) => latest.current.until(value);
    pollUntil(call, { ...options, until, signal: ended.signal }).then(
      () => set({ isDone: true }),
      (error) => set({ error, isDone: true }),
    );
    return () => ended.abort();
  });
}

// A snapshot stays the same object until something changes. There are no calls after an unsubscribe.
function store(snapshot, start) {
  const get = () => snapshot;
  return {
    get,
    subscribe(onChange) {
      let isOver = false;
      const stop = start(get, (change) => {
        if (isOver) return;
        snapshot = { ...snapshot, ...change };
        onChange();
      });
      return () => {
        isOver = true;
        stop();
      };
    },
  };
}
