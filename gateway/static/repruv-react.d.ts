/** Types of /static/repruv-react.js: hooks for React 18 and later; the page provides React. */

import type { HttpError, Job, PollOptions, StreamState, WatchOptions } from './repruv.js';

export interface JobView {
  /** The newest snapshot; null until there is one. */
  job: Job | null;
  /** The state of the stream; `closed` if the job has ended or is missing, or there is no job id. */
  state: StreamState;
  /** Set if the user has no such job. */
  error: HttpError | null;
}

export interface JobOptions extends WatchOptions {
  /** The job when the server rendered the page; ignored if it is another job. */
  initial?: Job | null;
}

/** Watches a job while the component is mounted. Another job or other options restart the watch, except `initial` and `lastEventId`. */
export function useJob(jobId: string | null | undefined, options?: JobOptions): JobView;

export interface Poll<T> {
  /** The newest answer; the same object as before when nothing has changed. */
  value: T | undefined;
  /** The error that ended polling; transient errors are retried and not set. */
  error: unknown;
  isDone: boolean;
}

export interface UsePollOptions<T> extends Omit<PollOptions, 'signal'> {
  /** Identifies the request; another key restarts polling. */
  key?: string;
  /** True; false waits. */
  enabled?: boolean;
  /** Returns whether an answer is the last one; by default none is. */
  until?: (value: T) => boolean;
}

/** Calls `fn` again and again while the component is mounted; the next call uses the newest `fn` and `until`. */
export function usePoll<T>(fn: (options: { signal?: AbortSignal }) => T | Promise<T>, options?: UsePollOptions<T>): Poll<T>;
