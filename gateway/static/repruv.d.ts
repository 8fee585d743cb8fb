/** Types of /static/repruv.js. Times are ISO 8601 in UTC, durations milliseconds unless named otherwise. */

import type { Connection, DemoStatus as Demo, ErrorInfo as Problem, Job, NotificationsRead, Progress } from './repruv/types';

export type { Connection, Demo, Job, NotificationsRead, Problem, Progress };
export type JobStatus = Job['status'];
export type DemoStatus = Demo['status'];
export type StreamState = 'connecting' | 'open' | 'reconnecting' | 'polling' | 'offline' | 'signed-out' | 'closed';

export interface Hello {
  resumed: boolean;
  replayed: number;
  server_time: string;
  heartbeat_s: number;
}

/** `status` is 0 when there was no answer; `retryAfter` is 0 when the server did not say. */
export class HttpError extends Error {
  constructor(status: number, options?: { code?: string; message?: string; retryAfter?: number; cause?: unknown });
  readonly status: number;
  readonly code: string;
  readonly retryAfter: number;
  readonly transient: boolean;
  readonly signedOut: boolean;
}

export interface PollOptions {
  /** First pause; 1000. */
  interval?: number;
  /** Longest pause; 15000. */
  maxInterval?: number;
  /** After this a TimeoutError is thrown; never by default. */
  timeout?: number;
  signal?: AbortSignal;
}

export function pollUntil<T>(
  fn: (options: { signal?: AbortSignal }) => T | Promise<T>,
  options?: PollOptions & { until?: (value: T) => boolean },
): Promise<T>;
export function pollJobStatus(jobId: string, options?: PollOptions & { onUpdate?: (job: Job) => void }): Promise<Job>;
export function pollDemoStatus(options?: PollOptions & { onUpdate?: (demo: Demo) => void }): Promise<Demo>;

/**
 * What a hidden tab is told at once. Snapshots that are held back are not lost: when somebody looks, the newest one of
 * each job, of demo mode and of each connection is told, unless a newer one was told in the meantime.
 *
 * - `ends` (default): jobs that have ended, demo mode at rest, and notifications: what a title or a sound is made of.
 * - `all`: everything, as if somebody were looking.
 * - `none`: nothing but the stream's own words (`hello`, `reset`, `bye`, `state`).
 */
export type Background = 'ends' | 'all' | 'none';

export interface WatchOptions {
  /**
   * Whose page this is: the `user_id` of the signed-in user. By default what `<meta name="repruv-user" content="…">`
   * says. All watches of one user in one browser, in whatever tab, share one stream: one tab holds it, and another one
   * takes over when that is closed, crashes, freezes or goes into the back-forward cache. Where Web Locks or
   * BroadcastChannel are missing (pages without TLS, old browsers), each tab has a stream.
   *
   * Before every connection but a new page's first the module asks whether the browser is still this user's, and
   * otherwise ends all watches with `signed-out`. Without a user ('' also when the page names one) each watch has a
   * stream of its own; take that for jobs of other owners, which admins may watch.
   */
  user?: string;
  /** Where to resume, as a page or an earlier watch knew it. Without, the watch begins with how things stand. */
  lastEventId?: string;
  /** Pause between polls while streaming does not work; 5000. */
  pollInterval?: number;
  background?: Background;
}

export interface Watch {
  /** Ends it; nothing is called afterwards but `state('closed')`. */
  close(): void;
  /** How the stream stands, whichever tab holds it. */
  readonly state: StreamState;
  readonly lastEventId: string;
}

export interface EventHandlers {
  job?: (job: Job) => void;
  demo?: (demo: Demo) => void;
  connection?: (connection: Connection) => void;
  /** Notifications were read, in whatever tab or on whatever device: how many are left, counted up to 100. */
  notification?: (notification: NotificationsRead) => void;
  hello?: (hello: Hello) => void;
  reset?: (reset: Record<string, unknown>) => void;
  bye?: (bye: { reason: string }) => void;
  state?: (state: StreamState) => void;
}

export interface JobHandlers {
  update?: (job: Job) => void;
  done?: (job: Job) => void;
  /** There is no such job of this user; the watch has been closed. */
  missing?: (error: HttpError) => void;
  state?: (state: StreamState) => void;
}

export function watchEvents(handlers: EventHandlers, options?: WatchOptions & { url?: string }): Watch;
export function watchJob(jobId: string, handlers: JobHandlers, options?: WatchOptions): Watch;
export function isTerminal(job: Job): boolean;
export function isTransitioning(demo: Demo): boolean;
