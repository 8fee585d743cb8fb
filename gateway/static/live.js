/* Keeps a page as true as it was when it arrived: the server renders every change, this puts it in its place. */

import { isTerminal, isTransitioning, pollUntil, watchEvents } from './repruv.js';
import { request } from './repruv/http.js';

const NOTICE_AFTER_MS = 2500; // most cuts heal sooner, and then nobody needs to know
const REFRESH_WITHIN_MS = 30_000;
const number = new Intl.NumberFormat('en');
const title = document.title;
const live = () => document.getElementById('live');

let unpainted = null; // what the newest fragment says, until it is on the page
const shown = () => unpainted ?? live().dataset;

/** Starts with the data attributes of the body: `stream`, a URL, and `lastEventId`, where the page was rendered. */
export function liven({ stream, lastEventId }) {
  watchEvents({ demo: onDemo, job: onJob, reset: () => refresh('reset', () => true), state: showLink }, { url: stream, lastEventId });
}

function onDemo(demo) {
  showTitle(demo);
  const version = Number(shown().version);
  if (demo.version > version) refresh('demo', (page) => Number(page.version) >= demo.version);
  else if (demo.version === version && demo.job_id) progressOf(demo.job_id, demo.job_status, demo.progress);
}

function onJob(job) {
  const ended = isTerminal(job);
  if (job.job_id !== shown().jobId || !isTransitioning(shown())) return;
  if (ended) refresh('job', (page) => page.jobId !== job.job_id || !isTransitioning(page));
  else progressOf(job.job_id, job.status, job.progress);
}

function progressOf(jobId, status, progress) {
  const { jobId: current, jobStatus: before } = shown();
  if (jobId !== current || !isTransitioning(shown())) return;
  if (status !== before) refresh('status', (page) => page.jobStatus !== before);
  if (progress?.total && status === 'running') paint('progress', () => drawProgress(jobId, progress));
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

function drawProgress(jobId, { done, total, message }) {
  const box = document.querySelector(`[data-progress="${CSS.escape(jobId)}"]`);
  if (!box) return;
  const percent = Math.min(100, Math.floor((100 * done) / total));
  const count = `${number.format(done)} of ${number.format(total)}`;
  const bar = box.querySelector('progress');
  const quarter = Math.floor(percent / 25);
  const next = quarter > Math.floor(bar.value / 25) && quarter < 4;
  bar.value = percent;
  bar.setAttribute('aria-valuetext', `${percent}%, ${count}`);
  box.querySelector('[data-percent]').textContent = `${percent}%`;
  box.querySelector('[data-count]').textContent = count;
  if (message) box.querySelector('[data-step]').textContent = message;
  document.title = `(${percent}%) ${title}`;
  if (next) announce(`${bar.getAttribute('aria-label')}: ${25 * quarter}%`);
}

/* Fragments: asked for until they are as new as what the event told of, since a page can be read a moment too early. */

const wanted = new Map();
let fetching = false;

async function refresh(reason, enough) {
  wanted.set(reason, enough);
  if (fetching) return;
  fetching = true;
  try {
    await pollUntil(fetchFragment, { until: () => !wanted.size, interval: 400, maxInterval: 4000, timeout: REFRESH_WITHIN_MS });
  } catch (error) {
    if (error.signedOut) return showLink('signed-out');
    if (error.name !== 'TimeoutError') throw error;
    wanted.clear(); // the next event asks again
  } finally {
    fetching = false;
  }
}

async function fetchFragment() {
  const asked = [...wanted];
  const response = await request(document.body.dataset.page + location.search, { headers: { 'X-Fragment': 'status' }, redirect: 'manual' });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const fresh = page.getElementById('live');
  if (!fresh) return;
  for (const [reason, enough] of asked) if (enough(fresh.dataset) && wanted.get(reason) === enough) wanted.delete(reason);
  unpainted = { ...fresh.dataset };
  paint('fragment', () => replace(page, fresh));
}

function replace(page, fresh) {
  unpainted = null;
  const before = { ...live().dataset };
  const now = { ...fresh.dataset };
  const same = ['version', 'status', 'jobId', 'jobStatus'].every((name) => before[name] === now[name]);
  if (same || Number(now.version) < Number(before.version)) return; // what somebody is typing stays
  const focused = document.activeElement;
  const inside = live().contains(focused);
  for (const element of [...page.body.children]) {
    const old = element.id && document.getElementById(element.id);
    if (old) old.replaceWith(element);
  }
  if (inside) (document.getElementById(focused.id) ?? live()).focus({ preventScroll: true });
  if (before.status === now.status) return;
  document.getElementById('flash')?.remove(); // it spoke of the state before
  for (const element of live().querySelectorAll(`[data-after="${before.status}"]`)) element.hidden = false;
  announce(now.announce);
}

function announce(text) {
  document.getElementById('announcer').textContent = text;
}

/* A background tab tells how it ended in its title, until somebody looks. */

function showTitle(demo) {
  const { done = 0, total = 0 } = demo.progress ?? {};
  if (isTransitioning(demo)) document.title = total ? `(${Math.floor((100 * done) / total)}%) ${title}` : title;
  else document.title = document.hidden && document.title !== title ? `${demo.status === 'failed' ? '✕' : '✓'} ${title}` : title;
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !isTransitioning(live().dataset)) document.title = title;
});

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
