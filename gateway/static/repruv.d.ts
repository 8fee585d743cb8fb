/** Types of /static/repruv.js. Times are ISO 8601 in UTC, durations milliseconds unless named otherwise. */

import type { Connection, DemoStatus as Demo, ErrorInfo as Problem, ExportStatus as Export, Job, NotificationsRead, Progress } from './repruv/types';

export type { Connection, Demo, Export, Job, NotificationsRead, Problem, Progress };
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
 * The snapshots that a hidden tab gets at once. Others are deferred: when the tab is shown, the newest one of each job, of
 * demo mode and of each connection follows, unless the watch has had a newer one.
 *
 * - `ends` (default): ended jobs, demo mode outside transitions, and notifications, for a title or a sound.
 * - `all`: all, as in a visible tab.
 * - `none`: none, only control events (`hello`, `reset`, `bye`, `state`).
 */
export type Background = 'ends' | 'all' | 'none';

export interface WatchOptions {
  /**
   * The `user_id` of the signed-in user; by default that of `<meta name="repruv-user" content="…">`. All watches of one
   * user in one browser, in any tab, share one stream: one tab holds it, and another takes over when that tab closes,
   * crashes, freezes or enters the back-forward cache. Without Web Locks or BroadcastChannel (pages without TLS, old
   * browsers) each tab has a stream.
   *
   * Before every connection except the first of a new page the module checks that the browser is still signed in as this
   * user, and otherwise ends all watches with `signed-out`. Without a user ('' overrides the page) each watch has its own
   * stream; use that for jobs of other owners, which admins may watch.
   */
  user?: string;
  /** The id to resume after, from a page or an earlier watch. Without it the watch starts with the current snapshots. */
  lastEventId?: string;
  /** Pause between polls while streaming does not work; 5000. */
  pollInterval?: number;
  background?: Background;
}

export interface Watch {
  /** Ends the watch; only `state('closed')` is called afterwards. */
  close(): void;
  /** The state of the stream, whichever tab holds it. */
  readonly state: StreamState;
  readonly lastEventId: string;
}

export interface EventHandlers {
  job?: (job: Job) => void;
  demo?: (demo: Demo) => void;
  connection?: (connection: Connection) => void;
  export?: (snapshot: Export) => void;
  /** The unread count, up to 100, after notifications were read in any tab or on any device. */
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
