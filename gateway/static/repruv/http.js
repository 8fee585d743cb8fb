/* Requests with deadlines and typed errors, and polling with backoff. */

const DEADLINE_MS = 10_000;

/** An unsuccessful answer. `status` is 0 when there was no answer; `retryAfter` is in milliseconds. */
export class HttpError extends Error {
  constructor(status, { code = '', message = '', retryAfter = 0, cause } = {}) {
    super(message || (status ? `HTTP ${status}` : 'No answer from the server'), { cause });
    this.name = 'HttpError';
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get transient() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Whether the user has to sign in again. */
  get signedOut() {
    return this.status === 401 || this.status === 403;
  }
}

/** Like fetch, but resolves only with a success or 304 within 10 s, and throws HttpError otherwise. */
export async function request(url, { signal, ...options } = {}) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  let response;
  try {
    response = await fetch(url, {
      credentials: 'same-origin',
      cache: 'no-store',
      ...options,
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw new HttpError(0, { cause });
  }
  if (response.type === 'opaqueredirect') throw new HttpError(303); // its address and status are hidden
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => ({})); // a proxy's error page has no JSON
  throw new HttpError(response.status, {
    code: problem.code,
    message: problem.detail ?? problem.title,
    retryAfter: retryAfter(response.headers.get('Retry-After')),
  });
}

/** Reads the body of a response, `as` json or text. Throws HttpError when the connection breaks, or the deadline has passed. */
export async function read(response, as, signal) {
  try {
    return await response[as]();
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw new HttpError(0, { cause });
  }
}

/** Returns a function that fetches the JSON of `url`, with an ETag. */
export function getter(url) {
  let etag = null;
  let value;
  return async ({ signal } = {}) => {
    // What a page fetches automatically is no use of the session.
    const headers = { Accept: 'application/json', 'X-Background': '1', ...(etag && { 'If-None-Match': etag }) };
    const response = await request(url, { signal, headers });
    if (response.status !== 304) {
      value = await read(response, 'json', signal);
      etag = response.headers.get('ETag');
    }
    return value;
  };
}

/** Returns a function that throws HttpError 401 unless the browser is signed in as `user`. */
export function signedInAs(user) {
  const me = getter('/api/v1/auth/me');
  return async (options) => {
    if ((await me(options)).user_id !== user) throw new HttpError(401);
  };
}

/**
 * Calls `fn` until `until(value)` holds, and resolves with that value. The pause starts at `interval` and grows to
 * `maxInterval` (milliseconds, ±20 %); Retry-After is honoured. Transient errors are retried, others
 * are thrown. After `timeout` milliseconds it throws a TimeoutError, after an abort the signal's reason.
 */
export async function pollUntil(fn, { until = Boolean, interval = 1000, maxInterval = 15_000, timeout = Infinity, signal } = {}) {
  const end = Date.now() + timeout;
  for (let wait = interval; ; wait = Math.min(wait * 1.5, maxInterval)) {
    signal?.throwIfAborted();
    let pause = wait * (0.8 + 0.4 * Math.random());
    try {
      const value = await fn({ signal });
      if (until(value)) return value;
    } catch (error) {
      if (!(error instanceof HttpError && error.transient)) throw error;
      pause = Math.max(pause, error.retryAfter);
    }
    if (Date.now() + pause > end) throw new DOMException('Polling took too long', 'TimeoutError');
    await sleep(pause, signal);
  }
}

/** Resolves after `ms` milliseconds, or rejects with the signal's reason. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

function retryAfter(header) {
  if (!header) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
