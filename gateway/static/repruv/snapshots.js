/* Fetches snapshots when events may have been missed, or do not arrive at all. */

import { HttpError, pollUntil } from './http.js';

const CATCH_UP_WITHIN_MS = 60_000;

/**
 * Calls `fetch({ signal })`: `once()` until it has succeeded, between `start()` and `stop()` every `interval` ms.
 * `onRefused(error)` is called with a permanent error. `close()` ends everything.
 */
export function snapshots(fetch, { interval, onRefused }) {
  let polling = null;
  let catching = null;

  function start() {
    if (polling) return;
    polling = new AbortController();
    follow(pollUntil(fetch, { until: () => false, interval, maxInterval: interval, signal: polling.signal }));
  }

  function stop() {
    polling?.abort();
    polling = null;
  }

  function once() {
    if (catching) return;
    const current = (catching = new AbortController());
    follow(pollUntil(fetch, { until: () => true, timeout: CATCH_UP_WITHIN_MS, signal: current.signal })).finally(() => {
      if (catching === current) catching = null;
    });
  }

  function close() {
    stop();
    catching?.abort();
    catching = null;
  }

  function follow(promise) {
    return promise.then(
      () => {},
      (error) => {
        if (error.name === 'AbortError' || error.name === 'TimeoutError') return;
        if (!(error instanceof HttpError)) throw error;
        onRefused(error);
      },
    );
  }

  return { start, stop, once, close };
}
