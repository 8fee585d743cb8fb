import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { watchEvents, watchJob } from '../../gateway/static/repruv.js';
import { browser, demo, job, pass, restore, settle } from './fakes.mjs';

const DEMO = '/api/v1/demo/status';
let env;
let watch;
let seen;

beforeEach(() => {
  env = browser();
  seen = { jobs: [], demos: [], states: [], resets: 0 };
});

afterEach(() => {
  watch?.close();
  restore();
});

function start(options) {
  watch = watchEvents(
    {
      job: (each) => seen.jobs.push(each.version),
      demo: (each) => seen.demos.push(each),
      state: (each) => seen.states.push(each),
      reset: () => seen.resets++,
    },
    options,
  );
}

async function failUntilPolling() {
  for (let time = 0; time < 5; time++) {
    env.source().fail();
    if (time < 4) await pass(30_000);
  }
}

test('it begins where the page was rendered, and resumes after the last event', async () => {
  start({ lastEventId: '40' });
  assert.equal(env.source().url, '/api/v1/events?last_event_id=40');
  env.source().hello('41');
  env.source().emit('job', job(2), '42');
  env.source().emit('job', job(3)); // progress has no id
  env.source().fail();
  await pass(1000);
  assert.equal(env.source().url, '/api/v1/events?last_event_id=42');
  assert.deepEqual(seen.states, ['connecting', 'open', 'reconnecting']);
});

test('only newer snapshots get through', () => {
  start();
  env.source().hello();
  for (const version of [2, 1, 2, 5, 4]) env.source().emit('job', job(version));
  env.source().emit('job', job(1, 'pending', { job_id: 'j2' }));
  assert.deepEqual(seen.jobs, [2, 5, 1]);
});

test('demo mode of the same version is news when its progress is', () => {
  start();
  env.source().hello();
  for (const done of [1, 1, 2]) env.source().emit('demo', demo(3, 'enabling', { progress: { done, total: 9 } }));
  env.source().emit('demo', demo(2, 'disabled'));
  assert.deepEqual(seen.demos.map((each) => each.progress.done), [1, 2]);
});

test('failures in a row double the pause, up to half a minute', async () => {
  start();
  const pauses = [];
  for (let time = 0; time < 8; time++) {
    const opened = env.sources().length;
    env.source().fail();
    let waited = 0;
    while (env.sources().length === opened) {
      await pass(250);
      waited += 250;
    }
    pauses.push(waited);
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test('a stream that lasted starts the count again, one that broke at once does not', async () => {
  start();
  env.source().fail();
  await pass(500);
  env.source().hello();
  env.source().fail();
  await pass(999);
  assert.equal(env.sources().length, 2);
  await pass(1);
  env.source().hello();
  await pass(6000);
  env.source().fail();
  await pass(500);
  assert.equal(env.sources().length, 4);
});

test('a silent stream is given up five seconds after its ping is due', async () => {
  start();
  env.source().hello();
  await pass(15_000);
  env.source().emit('ping');
  await pass(19_900);
  assert.equal(env.source().closed, false);
  await pass(100);
  assert.equal(env.sources()[0].closed, true);
  assert.equal(watch.state, 'reconnecting');
});

test('a stream of which nothing arrives at all is polled for after ten seconds', async () => {
  start();
  await pass(9_900);
  assert.equal(env.source().closed, false);
  await pass(100);
  assert.equal(watch.state, 'polling');
  await pass(9000); // half of the pause that failures in a row have come to
  assert.equal(env.sources().length, 2);
  env.source().hello();
  assert.equal(watch.state, 'open');
});

test('after four failures it polls, and returns to streaming', async () => {
  start();
  await failUntilPolling();
  assert.equal(watch.state, 'polling');
  env.server.answers.set(DEMO, { body: demo(1, 'enabling') });
  env.server.answers.set('/api/v1/jobs?page_size=20', { body: { jobs: [job(4)] } });
  await pass(6000);
  assert.deepEqual(seen.demos.map((each) => each.version), [1]);
  assert.deepEqual(seen.jobs, [4]);
  await pass(15_000);
  env.source().hello();
  assert.equal(watch.state, 'open');
  await settle();
  const before = env.server.requests.length;
  await pass(10_000);
  assert.equal(env.server.requests.length, before);
});

test('it stops when the session has ended', async () => {
  env.server.answers.set(DEMO, { status: 401 });
  start();
  env.source().fail();
  await pass(1000);
  assert.deepEqual(seen.states.at(-1), 'signed-out');
  await pass(120_000);
  assert.equal(env.sources().length, 1);
});

test('it stops when the stream says so', async () => {
  start();
  env.source().hello();
  env.source().emit('bye', { reason: 'session_expired' });
  assert.equal(seen.states.at(-1), 'signed-out');
  assert.equal(env.source().closed, true);
  await pass(120_000);
  assert.equal(env.sources().length, 1);
});

test('a draining server is left and found again', async () => {
  start();
  env.source().hello('7');
  env.source().emit('bye', { reason: 'draining' });
  await pass(1000);
  assert.equal(env.source().url, '/api/v1/events?last_event_id=7');
});

test('one of too many streams leaves its place to the others, and polls for half a minute', async () => {
  start();
  env.source().hello();
  await pass(10_000);
  env.source().emit('bye', { reason: 'too_many_streams' });
  const streams = env.sources().length;
  await pass(29_000);
  assert.equal(env.sources().length, streams);
  assert.deepEqual(seen.states, ['connecting', 'open', 'polling']);
  assert.ok(env.server.requests.length > 0);
  await pass(31_000);
  assert.equal(env.sources().length, streams + 1);
});

test('Retry-After is respected', async () => {
  env.server.answers.set(DEMO, { status: 503, headers: { 'Retry-After': '20' } });
  start();
  env.source().fail();
  await pass(19_000);
  assert.equal(env.sources().length, 1);
  env.server.answers.set(DEMO, { body: demo(1) });
  await pass(2000);
  assert.equal(env.sources().length, 2);
});

test('after a reset what was missed is fetched, and the stream goes on from there', async () => {
  env.server.answers.set(DEMO, { body: demo(9, 'enabled') });
  env.server.answers.set('/api/v1/jobs?page_size=20', { body: { jobs: [job(8, 'completed')] } });
  start({ lastEventId: '5' });
  env.source().hello('6', { resumed: false });
  env.source().emit('reset', { reason: 'cursor_too_old' }, '900');
  await settle();
  assert.deepEqual(seen.demos.map((each) => each.version), [9]);
  assert.deepEqual(seen.jobs, [8]);
  assert.equal(seen.resets, 1);
  env.source().fail();
  await pass(1000);
  assert.equal(env.source().url, '/api/v1/events?last_event_id=900');
});

test('a page in the back-forward cache holds no connection and resumes', async () => {
  start();
  env.source().hello('3');
  env.fire('pagehide');
  assert.equal(env.source().closed, true);
  await pass(60_000);
  assert.equal(env.sources().length, 1);
  env.fire('pageshow');
  assert.equal(env.source().url, '/api/v1/events?last_event_id=3');
});

test('the pageshow of an ordinary load opens nothing', () => {
  start();
  env.fire('pageshow');
  assert.equal(env.sources().length, 1);
});

test('a hidden tab takes its time, and hurries when somebody looks', async () => {
  start();
  env.source().hello();
  env.show(false);
  env.source().fail();
  await pass(10_000);
  assert.equal(env.sources().length, 1);
  env.show(true);
  await settle();
  assert.equal(env.sources().length, 2);
});

test('a network that returns is used at once', async () => {
  start();
  env.source().hello();
  env.fire('offline');
  env.fire('online');
  await settle();
  assert.equal(env.sources().length, 2);
});

test('nothing happens after close', async () => {
  start();
  env.source().hello();
  watch.close();
  env.source().emit('job', job(2));
  env.fire('pageshow');
  await pass(120_000);
  assert.deepEqual(seen.jobs, []);
  assert.deepEqual(seen.states, ['connecting', 'open', 'closed']);
  assert.equal(env.sources().length, 1);
});

test('watchJob tells each step, then the end, once', () => {
  const received = [];
  watch = watchJob('j1', { update: (each) => received.push(each.version), done: (each) => received.push(each.status) });
  assert.equal(env.source().url, '/api/v1/jobs/j1/events');
  env.source().hello('1', { resumed: false });
  env.source().emit('job', job(2));
  env.source().emit('job', job(3));
  env.source().emit('job', job(9, 'running', { job_id: 'another' }));
  env.source().emit('job', job(4, 'completed'));
  env.source().emit('job', job(5, 'completed'));
  assert.deepEqual(received, [2, 3, 4, 'completed']);
  assert.equal(env.source().closed, true);
});
