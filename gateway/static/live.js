/* Keeps a page current: events show what has changed, the server renders it, and this code replaces the fragment.

   The markup of a page declares what it shows, so this code knows no page:
   data-subject="job:…"          the element shows this resource, with data-status, and data-version and data-attempt if they
                                 are known; an event of a newer version with another status refreshes the fragment
   data-lists="job"              #live is a list of this type: events of resources that are not on the page refresh it too
   data-watch="/api/…/events"    #live shows a job that may be another user's: an operator follows its stream and its log
   data-tail                     scrolled to its end, an element of a fragment stays there
   data-refresh-seconds="10"     #live refreshes at this interval, for changes without events
   data-waits-for                what the resource waits for; it changes without events
   data-announce                 the announcement when the status of the element changes
   data-shown-after="enabling"   shown if #live had this status before
   data-progress="…"             a progress bar of this job; with data-main the title shows it and its quarters are announced */

import { serverNow, setClock } from './ago.js';
import { markEnded, resetTitle, showPercent, updateUnread } from './attention.js';
import { isTerminal, pollUntil, watchEvents } from './repruv.js';
import { getter, read, request, signedInAs } from './repruv/http.js';
import { RESOURCES, TYPES } from './repruv/resources.js';
import { openStream } from './repruv/stream.js';

const NOTICE_AFTER_MS = 2500; // most interruptions are shorter
const PROBE_AFTER_MS = 5000;
const PROBE_WITHIN_MS = 4000;
const LONGEST_PROBE_MS = 60_000;
const REFRESH_WITHIN_MS = 30_000;
const MIN_INTERVAL_MS = 250; // between fetches, however fast events arrive
const STALE_AFTER_MS = 20_000;
const number = new Intl.NumberFormat('en');
const live = () => document.getElementById('live');

let pending = null; // the newest fragment, until it is on the page

/** Starts with the data attributes of the body: `stream`, a URL, and `lastEventId`, the cursor of the page. */
export function start({ stream, lastEventId }) {
  addEventListener('pageshow', ({ persisted }) => persisted && checkUser());
  // A static page still shows that its session has ended.
  if (!live()) return void watchEvents({ state: showLink }, { url: stream, lastEventId, background: 'all' });
  const snapshots = TYPES.map((type) => [type, (data) => onSnapshot(subjectOf(type, data), data)]);
  const handlers = { ...Object.fromEntries(snapshots), demo: onDemo, job: onJob, notification: () => refresh('read'), hello: refreshStale, reset: () => refresh('reset'), state: onLinkState };
  // Painting waits for an animation frame anyway, and the title of a hidden tab shows progress.
  watchEvents(handlers, { url: stream, lastEventId, background: 'all' });
  scrollTail();
  if (live().dataset.watch) watch(live().dataset.watch);
  document.addEventListener('visibilitychange', refreshStale);
  addEventListener('pageshow', (event) => event.persisted && refresh('back'));
  setInterval(refreshRegularly, 1000);
  setInterval(probeSilence, 1000);
}

/** Refreshes #live at its interval, which may change with its state. */
function refreshRegularly() {
  const seconds = Number(live().dataset.refreshSeconds);
  if (seconds && !document.hidden && since(fetchedAt) >= seconds * 1000) refresh('interval');
}

const LOG_MS = 500; // between refreshes for log lines

/** Follows the job of an operator's page: it may be another user's, whose events the shared stream does not have. */
function watch(url) {
  const get = getter(`/api/v1/jobs/${url.split('/').at(-2)}`);
  const onSnapshotOf = (job) => onSnapshot(subjectOf('job', job), job);
  let due;
  const onLog = () => (due ??= setTimeout(() => ((due = undefined), refresh('log')), LOG_MS));
  const onEvent = (type, data) => (type === 'job' ? onSnapshotOf(data) : ['log', 'hello', 'reset'].includes(type) && onLog());
  const snapshot = async (fetching) => onSnapshotOf(await get(fetching));
  openStream({ url, ask: get, types: ['job', 'log'], snapshot, onEvent, onState() {} });
}

/** Shows a page from the back-forward cache only if its user is still signed in. */
async function checkUser() {
  document.body.hidden = true;
  try {
    await signedInAs(document.querySelector('meta[name="repruv-user"]').content)();
  } catch (error) {
    if (error.signedOut) return location.reload(); // redirects to the login page
  }
  document.body.hidden = false;
}

const subjectOf = (type, data) => (RESOURCES[type].key ? `${type}:${data[RESOURCES[type].key]}` : type);

function onDemo(demo) {
  onSnapshot('demo', demo);
  // A page without the job's own version shows the job as demo mode has it.
  const { job_id: jobId, job_status: status, progress } = demo;
  if (jobId && find(`job:${jobId}`)?.version === undefined) onSnapshot(`job:${jobId}`, { status, progress }, { isListed: true });
}

function onJob(job) {
  if (isTerminal(job)) {
    if (find(subjectOf('job', job))) markEnded(job.status);
    refresh('ended'); // there may be one more unread notification
  }
  onSnapshot(subjectOf('job', job), job);
}

/* Snapshots are compared with the page. */

function onSnapshot(subject, snapshot, { isListed = false } = {}) {
  silence = { from: Date.now(), probeAfter: PROBE_AFTER_MS };
  const shown = find(subject);
  if (!shown) {
    const [type] = subject.split(':');
    if (!isListed && live().dataset.lists?.split(' ').includes(type)) refresh(subject);
  } else if (isOutdated(shown, snapshot)) {
    refresh(subject, (element) => element === undefined || !isOutdated(element, snapshot));
  } else if (snapshot.progress?.total && snapshot.status === 'running') {
    paint(`progress ${subject}`, () => drawProgress(subject.replace('job:', ''), snapshot));
  }
}

function isOutdated({ version, status, attempt }, snapshot) {
  if (version === undefined) return snapshot.status !== undefined && snapshot.status !== status;
  const current = snapshot.on_hold ? 'on_hold' : snapshot.status;
  if (snapshot.version === undefined || snapshot.version <= Number(version)) return false;
  // The version of a job grows with its progress, which is drawn without the server.
  return snapshot.attempt === undefined || current !== status || snapshot.attempt !== Number(attempt);
}

const find = (subject) => subjects(pending ?? document).get(subject);

/** The data attributes of each resource that a page shows, by its subject. */
function subjects(page) {
  return new Map([...page.querySelectorAll('[data-subject]')].map(({ dataset }) => [dataset.subject, dataset]));
}

/* Painting waits for an animation frame. Hidden tabs have none, and catch up when they are shown. */

const draws = new Map();

function paint(key, draw) {
  if (!draws.size) requestAnimationFrame(() => {
    const due = [...draws.values()];
    draws.clear();
    for (const each of due) each();
  });
  draws.set(key, draw);
}

function drawProgress(jobId, { progress, estimated_finish_at: end }) {
  const box = document.querySelector(`[data-progress="${CSS.escape(jobId)}"]`);
  if (!box) return;
  const { done, total, message } = progress;
  const percent = Math.min(100, Math.floor((100 * done) / total));
  const count = `${number.format(done)} of ${number.format(total)}`;
  const bar = box.querySelector('progress');
  const quarter = Math.floor(percent / 25);
  const next = quarter > Math.floor(bar.value / 25) && quarter < 4;
  bar.value = percent;
  bar.setAttribute('aria-valuetext', `${percent}%, ${count}`);
  write(box, 'percent', `${percent}%`);
  write(box, 'count', count);
  if (message) write(box, 'step', message);
  if (end) write(box, 'eta', left(end));
  if (!('main' in box.dataset)) return;
  showPercent(percent);
  if (next) announce(`${bar.getAttribute('aria-label')}: ${25 * quarter}%`);
}

function write(box, part, text) {
  const element = box.querySelector(`[data-${part}]`);
  if (element && element.textContent !== text) element.textContent = text;
}

/** The same words as the `left` filter of the server. */
function left(end) {
  const seconds = Math.round((Date.parse(end) - serverNow()) / 1000);
  if (seconds < 5) return 'a few seconds left';
  if (seconds <= 55) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds <= 59 * 60) return `about ${Math.ceil(seconds / 60)} min left`;
  return seconds <= 47 * 3600 ? `about ${Math.ceil(seconds / 3600)} h left` : `about ${Math.ceil(seconds / 86400)} days left`;
}

/* Fragments are fetched until they are as new as the event: a page can be rendered a moment before the change. */

const reasons = new Map(); // why a fragment is needed, and the check whether it is new enough
let isFetching = false;
let fetchedAt = Date.now();

/** The milliseconds since a time; many after the clock was set back. */
const since = (time) => Math.abs(Date.now() - time);

function refreshStale() {
  if (document.hidden) return;
  if (!live().querySelector('[data-main]')) resetTitle();
  if (since(fetchedAt) > STALE_AFTER_MS) refresh('stale');
}

async function refresh(reason, isEnough = () => true) {
  reasons.set(reason, isEnough);
  if (isFetching) return;
  isFetching = true;
  try {
    const wait = MIN_INTERVAL_MS - since(fetchedAt);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    await pollUntil(fetchFragment, { until: () => !reasons.size, interval: 400, maxInterval: 4000, timeout: REFRESH_WITHIN_MS });
  } catch (error) {
    reasons.clear(); // the next event refreshes again
    if (error.signedOut) return showLink('signed-out');
    // The server explains best what is missing, or leads to what there is instead.
    if (error.status === 404 || error.status === 303) return location.reload();
    if (error.name !== 'TimeoutError' && !error.status) throw error;
  } finally {
    isFetching = false;
  }
}

async function fetchFragment() {
  const requested = [...reasons];
  const response = await request(document.body.dataset.page + location.search, { headers: { 'X-Fragment': 'status', ...(document.hidden && { 'X-Background': '1' }) }, redirect: 'manual' });
  const page = new DOMParser().parseFromString(await read(response, 'text'), 'text/html');
  if (!page.getElementById('live')) return;
  setClock(response.headers.get('Date'));
  fetchedAt = Date.now();
  const elements = subjects(page);
  for (const [reason, isEnough] of requested) if (isEnough(elements.get(reason)) && reasons.get(reason) === isEnough) reasons.delete(reason);
  pending = page;
  updateUnread(page);
  paint('fragment', () => replace(page));
}

function replace(page) {
  pending = null;
  const next = page.getElementById('live');
  if (keepsCurrent(next)) next.remove();
  const before = subjects(document);
  const focused = document.activeElement;
  const inside = live().contains(focused);
  const open = [...document.querySelectorAll('details[open][id]')].map(({ id }) => id);
  const tail = document.querySelector('[data-tail]');
  const top = tail && tail.scrollTop + tail.clientHeight < tail.scrollHeight - 8 ? tail.scrollTop : Infinity;
  for (const element of [...page.body.children]) {
    const old = element.id && document.getElementById(element.id);
    if (old && old.outerHTML !== element.outerHTML) old.replaceWith(element);
  }
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
  scrollTail(top);
  if (focused.id && !focused.isConnected) document.getElementById(focused.id)?.focus({ preventScroll: true });
  if (!next.isConnected || next.ownerDocument !== document) return;
  if (inside) (document.getElementById(focused.id) ?? live()).focus({ preventScroll: true });
  announceChanges(before);
}

function scrollTail(top = Infinity) {
  const tail = document.querySelector('[data-tail]');
  if (tail) tail.scrollTop = Math.min(top, tail.scrollHeight);
}

/** Whether the current fragment stays: its form or dialog is in use, or the next one shows nothing else, or is older. */
function keepsCurrent(next) {
  if (live().querySelector('dialog[open]') && live().dataset.status === next.dataset.status) return true;
  if ('refreshSeconds' in next.dataset && live().querySelector('details[open] form, input:focus, select:focus')) return true;
  const before = subjects(document);
  const after = subjects(next.ownerDocument);
  if (!before.size && !after.size) return next.textContent === live().textContent;
  const facts = ({ version, status, attempt, jobId, waitsFor }) => [version, status, attempt, jobId, waitsFor].join();
  if ([...after].some(([name, { version }]) => Number(version) < Number(before.get(name)?.version))) return true;
  return next.textContent === live().textContent || ([...before.keys()].join() === [...after.keys()].join() && [...after].every(([name, data]) => facts(data) === facts(before.get(name))));
}

function announceChanges(before) {
  if (!live().querySelector('[data-main]')) resetTitle();
  const changed = [...subjects(document).values()].filter(({ subject, status }) => before.get(subject)?.status !== status);
  if (!changed.length) return;
  document.getElementById('flash')?.remove(); // it is about the previous state
  const was = before.get(live().dataset.subject)?.status;
  if (was) for (const element of live().querySelectorAll(`[data-shown-after="${was}"]`)) element.hidden = false;
  const sentences = changed.map(({ announce }) => announce).filter(Boolean);
  if (sentences.length) announce(sentences.slice(0, 3).join('. '));
}

function announce(text) {
  document.getElementById('announcer').textContent = text;
}

let linkState = 'connecting';
let silence = { from: Date.now(), probeAfter: PROBE_AFTER_MS };

function onLinkState(state) {
  linkState = state;
  showLink(state);
}

/** A running job reports often: when nothing arrives, asks whether the server answers, ever more rarely while it does. */
async function probeSilence() {
  const { from, probeAfter } = silence;
  if (linkState !== 'open' || document.hidden || !live().querySelector('[data-progress]') || since(from) < probeAfter) return;
  silence = { from: Date.now(), probeAfter: Math.min(2 * probeAfter, LONGEST_PROBE_MS) };
  const isAnswered = await request('/api/v1/auth/me', { headers: { 'X-Background': '1' }, signal: AbortSignal.timeout(PROBE_WITHIN_MS) }).then(() => true, ({ status }) => status > 0 && status < 500);
  if (!isAnswered) silence.probeAfter = PROBE_AFTER_MS;
  if (linkState === 'open') showLink(isAnswered ? 'open' : 'reconnecting', 0);
}

let notice;

function showLink(state, afterMs = NOTICE_AFTER_MS) {
  clearTimeout(notice);
  const box = document.getElementById('link-state');
  const show = () => {
    const words = box.querySelector(`[data-when="${state}"] span`)?.textContent;
    if (words ?? !box.hidden) announce(words ?? 'Connected again.');
    box.dataset.state = state;
    box.hidden = !words;
    if (state === 'signed-out') document.getElementById('main').hidden = true; // the next person at this screen must not read it
  };
  if (state === 'reconnecting' && box.hidden) notice = setTimeout(show, afterMs);
  else if (state !== 'reconnecting') show();
}
