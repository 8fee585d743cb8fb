/** Generated from the OpenAPI document by `make protos`; do not edit. Times are ISO 8601 in UTC. */

/** The user's account at the platform. */
export interface Account {
  external_id: string;
  name: string;
  url: string;
  picture_url: string;
}

/** One run of a job's handler. */
export interface Attempt {
  attempt: number;
  worker: string;
  started_at: string | null;
  finished_at: string | null;
  outcome: 'completed' | 'failed' | 'cancelled' | 'released' | 'snoozed' | 'waiting' | 'crashed' | null;
  error: ErrorInfo | null;
  reached: Reached | null;
  /** What a later attempt reported first: where it resumed. */
  resumed_done: number | null;
  /** When the lease of a crashed attempt ended. */
  lease_expired_at: string | null;
}

/** The author of an interaction. */
export interface Author {
  name: string;
  handle: string;
}

/** A value that an attempt saved for later ones: a step, or the position of a loop (`@state`). */
export interface Checkpoint {
  name: string;
  attempt: number;
  saved_at: string | null;
  duration_seconds: number | null;
  /** Small values as JSON, for admins. */
  value: string | null;
}

/** The number of a job's children, of ended children, and of those without success. */
export interface Children {
  total: number;
  ended: number;
  unsuccessful: number;
}

/** The address where the user consents. */
export interface Connecting {
  status: 'disconnected' | 'connecting' | 'connected' | 'disconnecting' | 'failed';
  authorization_url: string;
  expires_at: string | null;
  connection: Connection;
}

/** A user's access to a platform. Of two snapshots the one with the higher `version` is the newer. */
export interface Connection {
  platform: string;
  title: string;
  status: 'disconnected' | 'connecting' | 'connected' | 'disconnecting' | 'failed';
  account: Account | null;
  error: ErrorInfo | null;
  job_id: string | null;
  connected_at: string | null;
  synced_at: string | null;
  access_expires_at: string | null;
  item_count: number;
  updated_at: string | null;
  version: number;
}

/** One connection for each platform. */
export interface Connections {
  connections: Connection[];
}

/** A page of content items. */
export interface Content {
  content: ContentItem[];
  /** Empty on the last page. */
  next_page_token: string;
}

/** Something that people interact with. */
export interface ContentItem {
  content_id: string;
  platform: string;
  title: string;
  published_at: string | null;
  views: number;
  likes: number;
  interaction_count: number;
}

/** The content item of an interaction. */
export interface ContentReference {
  content_id: string;
  title: string;
}

/** The dashboard's numbers; all zero unless demo mode is enabled. */
export interface Dashboard {
  demo: boolean;
  content_count: number;
  interaction_count: number;
  average_rating: number | null;
  rating_counts: Record<string, number>;
  /** 0 to 1. */
  response_rate: number | null;
  needs_reply: number;
  sentiment: SentimentCounts;
  views: number;
  likes: number;
  /** The last `days` days (UTC), oldest first. */
  interactions_per_day: DayCount[];
  computed_at: string | null;
}

/** Interactions of one day (UTC). */
export interface DayCount {
  date: string;
  count: number;
  sentiment: SentimentCounts;
}

/** An accepted request; the job does the work. */
export interface DemoAccepted {
  status: 'disabled' | 'enabling' | 'enabled' | 'disabling' | 'failed';
  job_id: string;
  message: string;
}

/** Who the demo data pretends the user to be. */
export interface DemoProfile {
  profile_type: string;
  niche: string;
  name: string;
  handle: string;
  tagline: string;
  avatar: string;
  platforms: string[];
}

/** Rows requested, written so far, and removed by the latest disable. */
export interface DemoStats {
  content: number;
  interactions: number;
  content_written: number;
  interactions_written: number;
  removed_content: number;
  removed_interactions: number;
}

/** The state of demo mode. */
export interface DemoStatus {
  status: 'disabled' | 'enabling' | 'enabled' | 'disabling' | 'failed';
  demo_mode: boolean;
  job_id: string | null;
  job_kind: string | null;
  job_status: 'scheduled' | 'pending' | 'running' | 'retrying' | 'cancelling' | 'completed' | 'failed' | 'cancelled' | null;
  progress: Progress | null;
  profile: DemoProfile | null;
  error: ErrorInfo | null;
  stats: DemoStats;
  version: number;
  enabled_at: string | null;
  /** When it is disabled automatically; null: never. */
  expires_at: string | null;
  message: string;
}

/** The access is being revoked. */
export interface Disconnecting {
  status: 'disconnected' | 'connecting' | 'connected' | 'disconnecting' | 'failed';
  job_id: string | null;
  connection: Connection;
}

/** The reason for a failure. */
export interface ErrorInfo {
  code: string;
  message: string;
}

/** One event of the stream. */
export interface Event {
  /** The sequence of a transition, as in the stream; null for what has none. */
  id: number | null;
  /** `job`, `demo`, `connection`, `export`, `notification` or `reset`. */
  event: string;
  /** A whole snapshot with a `version`, as in the stream. */
  data: Job | DemoStatus | Connection | ExportStatus | NotificationsRead | Reset;
}

/** An accepted request; the job does the work. */
export interface ExportAccepted {
  status: 'none' | 'exporting' | 'ready' | 'failed';
  job_id: string;
}

/** The export of a user's reviews. Of two snapshots the one with the higher `version` is the newer. */
export interface ExportStatus {
  status: 'none' | 'exporting' | 'ready' | 'failed';
  job_id: string | null;
  /** Rows of the complete file. */
  rows: number;
  rows_written: number;
  bytes: number;
  error: ErrorInfo | null;
  changed_at: string | null;
  /** When the file is deleted; set while ready. */
  expires_at: string | null;
  version: number;
}

/** A comment, review or mention. */
export interface Interaction {
  interaction_id: string;
  kind: 'comment' | 'review' | 'mention';
  platform: string;
  author: Author;
  text: string;
  /** 1 to 5; only for reviews. */
  rating: number | null;
  sentiment: 'positive' | 'neutral' | 'negative';
  replied: boolean;
  reply_text: string | null;
  needs_reply: boolean;
  occurred_at: string | null;
  likes: number;
  content: ContentReference;
}

/** A page of interactions, newest first. */
export interface Interactions {
  interactions: Interaction[];
  /** Empty on the last page. */
  next_page_token: string;
  /** Empty on the first page. */
  previous_page_token: string;
}

/** A long operation. Of two snapshots the one with the higher `version` is the newer. */
export interface Job {
  job_id: string;
  kind: string;
  status: 'scheduled' | 'pending' | 'running' | 'retrying' | 'cancelling' | 'completed' | 'failed' | 'cancelled';
  progress: Progress;
  attempt: number;
  max_attempts: number;
  /** Attempts that ended in an error since it was submitted or retried. */
  errors: number;
  created_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  duration_seconds: number | null;
  /** At the rate of the last seconds; null while that is unknown. */
  estimated_finish_at: string | null;
  /** When it can begin next; set while it is scheduled or retrying, but not on hold. */
  next_run_at: string | null;
  /** Whether an admin holds it: it is scheduled until an admin releases it. */
  on_hold: boolean;
  /** When it must have ended. */
  deadline_at: string | null;
  parent_id: string | null;
  children: Children | null;
  result: Record<string, unknown> | null;
  error: ErrorInfo | null;
  cancel_reason: string | null;
  /** Whether to offer a cancel; never for removals, half of which would be a failure. */
  cancellable: boolean;
  /** Never for jobs that were imported from the previous system. */
  retryable: boolean;
  version: number;
}

/** The history of a job, oldest first. */
export interface JobHistory {
  attempts: Attempt[];
  transitions: Transition[];
  checkpoints: Checkpoint[];
  /** Whether it waits while its kind, or every kind, is paused. */
  is_paused: boolean;
  /** How many jobs of its kind start before it, at most 1000; null unless it waits for a worker. The number can grow: jobs of a higher priority, and of users with fewer waiting jobs, go first. */
  jobs_ahead: number | null;
  /** Whether it waits while its kind has no worker. */
  lacks_worker: boolean;
  /** Whether it waits until another job with its key has ended. */
  awaits_slot: boolean;
  /** Whether it waits until an admin releases it. */
  on_hold: boolean;
  job_id: string;
}

/** A page of jobs. */
export interface Jobs {
  jobs: Job[];
  /** Empty on the last page. */
  next_page_token: string;
  /** Empty on the first page. */
  previous_page_token: string;
}

/** The signed-in user, and where to go after signing in. */
export interface Me {
  user_id: string;
  email: string;
  name: string;
  role: 'user' | 'admin' | 'guest';
  /** An IANA time zone; null: the browser's. */
  time_zone: string | null;
  theme: 'system' | 'light' | 'dark';
  /** The address is verified, or the account is still new. */
  can_access_dashboard: boolean;
  redirect_path: string;
}

/** A finished job that its owner has not read. */
export interface Notification {
  notification_id: string;
  job_id: string;
  kind: string;
  status: 'completed' | 'failed' | 'cancelled';
  /** One sentence for the user. */
  message: string;
  error: ErrorInfo | null;
  finished_at: string | null;
  read: false;
}

/** A page of unread notifications, the latest first. */
export interface Notifications {
  notifications: Notification[];
  /** In all; more than 100 count as 100. */
  unread_count: number;
  /** Empty on the last page. */
  next_page_token: string;
}

/** The unread count after notifications were read. Of two, the one with the higher `version` is the newer. */
export interface NotificationsRead {
  /** In all; more than 100 count as 100. */
  unread_count: number;
  version: number;
}

/** New events. */
export interface PollResult {
  /** Whether no event is missing since the previous response. */
  resumed: boolean;
  events: Event[];
  /** The value of `after` for the next poll. */
  next: string;
}

/** The progress of a job. */
export interface Progress {
  done: number;
  /** 0 while unknown. */
  total: number;
  percent: number;
  message: string;
}

/** How far an attempt came that did not complete. */
export interface Reached {
  done: number;
  /** 0 while unknown. */
  total: number;
}

/** Events may be missing: read again what the page shows. */
export interface Reset {
  reason: string;
}

/** Interactions by sentiment. */
export interface SentimentCounts {
  positive: number;
  neutral: number;
  negative: number;
}

/** One change of a job's state; `sequence` is the id of its event. */
export interface Transition {
  sequence: number;
  status: 'scheduled' | 'pending' | 'running' | 'retrying' | 'cancelling' | 'completed' | 'failed' | 'cancelled';
  attempt: number;
  reason: string;
  occurred_at: string | null;
}
