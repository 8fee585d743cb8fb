/* Hooks for React 18 and later. They render on servers, and start where a page is alive. Types are in repruv-react.d.ts. */

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';

import { isTerminal, pollUntil, watchJob } from './repruv.js';

/**
 * How a job stands, as it happens: `{ job, state, error }`. Without a job's id it waits for one; `initial` is the job as
 * the server knew it, `lastEventId` where its page was rendered.
 */
export function useJob(jobId, { initial = null, lastEventId, user, pollInterval, background } = {}) {
  const store = useMemo(
    () => jobStore(jobId, initial?.job_id === jobId ? initial : null, { lastEventId, user, pollInterval, background }),
    // What the server knew is where a job begins, not a reason to begin anew.
    [jobId, user, pollInterval, background],
  );
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

/**
 * What `fn({ signal })` answers, asked again until `until(value)` holds: `{ value, error, isDone }`. Another `key` starts
 * anew; `enabled: false` waits. The other options are those of pollUntil.
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
      lastEventId = watch.lastEventId || lastEventId; // components that come back go on
      watch.close();
    };
  });
}

function pollStore(latest, enabled, options) {
  return store({ value: undefined, error: null, isDone: false }, (get, set) => {
    if (!enabled || get().isDone) return () => {};
    const ended = new AbortController();
    const ask = async (request) => {
      const value = await latest.current.fn(request);
      if (!Object.is(value, get().value)) set({ value });
      return value;
    };
    const until = (value) => latest.current.until(value);
    pollUntil(ask, { ...options, until, signal: ended.signal }).then(
      () => set({ isDone: true }),
      (error) => set({ error, isDone: true }),
    );
    return () => ended.abort();
  });
}

// A snapshot stays the same object until something changes, and nobody hears of it after they have gone.
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
