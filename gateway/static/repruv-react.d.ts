/** Types of /static/repruv-react.js: hooks for React 18 and later, which the page brings along. */

import type { HttpError, Job, PollOptions, StreamState, WatchOptions } from './repruv.js';

export interface JobView {
  /** The newest snapshot; null until there is one. */
  job: Job | null;
  /** How the stream stands; `closed` when the job has ended, is missing, or none is asked for. */
  state: StreamState;
  /** Set when there is no such job of this user. */
  error: HttpError | null;
}

export interface JobOptions extends WatchOptions {
  /** The job as the server knew it when it rendered the page; of interest only when it is the job asked for. */
  initial?: Job | null;
}

/** Watches a job while the component is mounted. Another job or other options start anew, but for `initial` and `lastEventId`. */
export function useJob(jobId: string | null | undefined, options?: JobOptions): JobView;

export interface Poll<T> {
  /** The newest answer; the same object as before when nothing has changed. */
  value: T | undefined;
  /** What ended it, unless it was `until`; errors that may pass are waited out and never seen here. */
  error: unknown;
  isDone: boolean;
}

export interface UsePollOptions<T> extends Omit<PollOptions, 'signal'> {
  /** What is asked; another key starts anew. */
  key?: string;
  /** True; false waits. */
  enabled?: boolean;
  /** Whether an answer is the last one; by default none is. */
  until?: (value: T) => boolean;
}

/** Calls `fn` again and again while the component is mounted; a newer `fn` or `until` is taken for the next call. */
export function usePoll<T>(fn: (options: { signal?: AbortSignal }) => T | Promise<T>, options?: UsePollOptions<T>): Poll<T>;
