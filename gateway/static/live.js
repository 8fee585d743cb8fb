/* Keeps a page as true as it was when it arrived: the server renders every change, this puts it in its place.

   A page says in its markup what it lives on, so that nothing here knows any page:
   data-subject="job:…"   an element shows this thing, with data-status, and data-version (data-attempt) where it is known;
                          an event of a newer version with another status has the fragment asked for
   data-hears="job"       #live shows things of this type as a list: events of things that are not on it count as well
   data-every="10"        #live asks every so many seconds, for what no event tells
   data-announce          what is said when the status of this element becomes another
   data-after="enabling"  shown to whoever saw #live with this status before
   data-progress="…"      a progress bar of this job; data-main: its page's title shows it, and its quarters are said */

import { ended, fresh, restTitle, showShare } from './attention.js';
import { isTerminal, pollUntil, watchEvents } from './repruv.js';
import { request, signedInAs } from './repruv/http.js';

const NOTICE_AFTER_MS = 2500; // most cuts heal sooner, and then nobody needs to know
const REFRESH_WITHIN_MS = 30_000;
const PAUSE_MS = 250; // however fast events come
const STALE_AFTER_MS = 20_000;
const number = new Intl.NumberFormat('en');
const live = () => document.getElementById('live');

let unpainted = null; // the newest fragment, until it is on the page

/** Starts with the data attributes of the body: `stream`, a URL, and `lastEventId`, where the page was rendered. */
export function liven({ stream, lastEventId }) {
  addEventListener('pageshow', ({ persisted }) => persisted && returned());
  // A page on which nothing moves hears at least that its session has ended.
  if (!live()) return void watchEvents({ state: showLink }, { url: stream, lastEventId, background: 'all' });
  const handlers = { demo: onDemo, job: onJob, connection: onConnection, notification: () => refresh('read'), hello: look, reset: () => refresh('reset'), state: showLink };
  // Painting waits for a frame anyway, and a hidden tab's title tells how far it is.
  watchEvents(handlers, { url: stream, lastEventId, background: 'all' });
  document.addEventListener('visibilitychange', look);
  addEventListener('pageshow', (event) => event.persisted && refresh('back'));
  const seconds = Number(live().dataset.every);
  if (seconds) setInterval(() => document.hidden || refresh('every'), seconds * 1000);
}

/** Shows a page that the browser had kept only to whom it was made for: they may have signed out meanwhile. */
async function returned() {
  document.body.hidden = true;
  try {
    await signedInAs(document.querySelector('meta[name="repruv-user"]').content)();
  } catch (error) {
    if (error.signedOut) return location.reload(); // which leads to the sign-in
  }
  document.body.hidden = false;
}

function onDemo(demo) {
  hear('demo', demo);
  // A page that shows demo mode knows of its job what demo mode says of it.
  const { job_id: jobId, job_status: status, progress } = demo;
  if (jobId && find(`job:${jobId}`)?.version === undefined) hear(`job:${jobId}`, { status, progress }, { isKnown: true });
}

function onJob(job) {
  if (isTerminal(job)) {
    ended(job);
    refresh('ended'); // what is unread has become more
  }
  hear(`job:${job.job_id}`, job);
}

function onConnection(connection) {
  hear(`connection:${connection.platform}`, connection);
}

/* What is heard is compared with what is shown. */

function hear(subject, news, { isKnown = false } = {}) {
  const shown = find(subject);
  if (!shown) {
    const [type] = subject.split(':');
    if (!isKnown && live().dataset.hears?.split(' ').includes(type)) refresh(subject);
  } else if (isNews(shown, news)) {
    refresh(subject, (page) => page === undefined || !isNews(page, news));
  } else if (news.progress?.total && news.status === 'running') {
    paint(`progress ${subject}`, () => drawProgress(subject.replace('job:', ''), news));
  }
}

function isNews({ version, status, attempt }, news) {
  if (version === undefined) return news.status !== undefined && news.status !== status;
  if (news.version === undefined || news.version <= Number(version)) return false;
  // A job's version grows with its progress, which is drawn without the server.
  return news.attempt === undefined || news.status !== status || news.attempt !== Number(attempt);
}

const find = (subject) => subjects(unpainted ?? document).get(subject);

/** The data attributes of each thing that a page shows, by its name. */
function subjects(page) {
  return new Map([...page.querySelectorAll('[data-subject]')].map(({ dataset }) => [dataset.subject, dataset]));
}

/* Painting waits for a frame, and hidden tabs have none: they catch up when somebody looks. */

const canvas = new Map();

function paint(what, draw) {
  if (!canvas.size) requestAnimationFrame(() => {
    const draws = [...canvas.values()];
    canvas.clear();
    for (const each of draws) each();
  });
  canvas.set(what, draw);
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
  showShare(percent);
  if (next) announce(`${bar.getAttribute('aria-label')}: ${25 * quarter}%`);
}

function write(box, part, text) {
  const element = box.querySelector(`[data-${part}]`);
  if (element && element.textContent !== text) element.textContent = text;
}

/** The same words as the `left` filter of the server. */
function left(end) {
  const seconds = Math.round((Date.parse(end) - Date.now()) / 1000);
  if (seconds < 5) return 'almost done';
  if (seconds < 60) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  return seconds < 3600 ? `about ${Math.ceil(seconds / 60)} min left` : `about ${Math.ceil(seconds / 3600)} h left`;
}

/* Fragments: asked for until they are as new as what the event told of, since a page can be read a moment too early. */

const wanted = new Map();
let isFetching = false;
let fetchedAt = Date.now();

function look() {
  if (document.hidden) return;
  if (!live().querySelector('[data-main]')) restTitle();
  if (Date.now() - fetchedAt > STALE_AFTER_MS) refresh('look');
}

async function refresh(reason, isEnough = () => true) {
  wanted.set(reason, { subject: reason, isEnough });
  if (isFetching) return;
  isFetching = true;
  try {
    const wait = fetchedAt + PAUSE_MS - Date.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    await pollUntil(fetchFragment, { until: () => !wanted.size, interval: 400, maxInterval: 4000, timeout: REFRESH_WITHIN_MS });
  } catch (error) {
    wanted.clear(); // the next event asks again
    if (error.signedOut) return showLink('signed-out');
    if (error.status === 404) return location.reload(); // it is no longer there, which the server says best
    if (error.name !== 'TimeoutError' && !error.status) throw error;
  } finally {
    isFetching = false;
  }
}

async function fetchFragment() {
  const asked = [...wanted];
  const response = await request(document.body.dataset.page + location.search, { headers: { 'X-Fragment': 'status' }, redirect: 'manual' });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  if (!page.getElementById('live')) return;
  fetchedAt = Date.now();
  const found = subjects(page);
  for (const [reason, want] of asked) if (want.isEnough(found.get(want.subject)) && wanted.get(reason) === want) wanted.delete(reason);
  unpainted = page;
  fresh(page);
  paint('fragment', () => replace(page));
}

function replace(page) {
  unpainted = null;
  const now = page.getElementById('live');
  if (isKept(now)) now.remove();
  const before = subjects(document);
  const focused = document.activeElement;
  const inside = live().contains(focused);
  const open = [...live().querySelectorAll('details[open][id]')].map(({ id }) => id);
  for (const element of [...page.body.children]) {
    const old = element.id && document.getElementById(element.id);
    if (old && old.outerHTML !== element.outerHTML) old.replaceWith(element);
  }
  if (!now.isConnected || now.ownerDocument !== document) return;
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
  if (inside) (document.getElementById(focused.id) ?? live()).focus({ preventScroll: true });
  tell(before);
}

/** What somebody is typing or being asked stays, and so does what has not changed, or comes too late to be true. */
function isKept(now) {
  if (live().querySelector('dialog[open]') && live().dataset.status === now.dataset.status) return true;
  if ('every' in now.dataset && live().querySelector('details[open] form, input:focus, select:focus')) return true;
  const before = subjects(document);
  const after = subjects(now.ownerDocument);
  if (!before.size && !after.size) return now.textContent === live().textContent;
  const facts = ({ version, status, attempt, jobId }) => [version, status, attempt, jobId].join();
  if ([...after].some(([name, { version }]) => Number(version) < Number(before.get(name)?.version))) return true;
  return now.textContent === live().textContent || ([...before.keys()].join() === [...after.keys()].join() && [...after].every(([name, data]) => facts(data) === facts(before.get(name))));
}

function tell(before) {
  if (!live().querySelector('[data-main]')) restTitle();
  const changed = [...subjects(document).values()].filter(({ subject, status }) => before.get(subject)?.status !== status);
  if (!changed.length) return;
  document.getElementById('flash')?.remove(); // it spoke of the state before
  const was = before.get(live().dataset.subject)?.status;
  if (was) for (const element of live().querySelectorAll(`[data-after="${was}"]`)) element.hidden = false;
  const sentences = changed.map(({ announce }) => announce).filter(Boolean);
  if (sentences.length) announce(sentences.slice(0, 3).join('. '));
}

function announce(text) {
  document.getElementById('announcer').textContent = text;
}

let notice;

function showLink(state) {
  clearTimeout(notice);
  const box = document.getElementById('link-state');
  const show = () => {
    box.dataset.state = state;
    box.hidden = !['reconnecting', 'polling', 'offline', 'signed-out'].includes(state);
    if (state === 'signed-out') announce('You have been signed out.');
  };
  if (state === 'reconnecting' && box.hidden) notice = setTimeout(show, NOTICE_AFTER_MS);
  else if (state !== 'reconnecting') show();
}
