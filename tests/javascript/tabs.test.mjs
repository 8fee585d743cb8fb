import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { demo, job } from './fakes.mjs';
import { Browser, pass, settle } from './tabs.mjs';

const DEMO = '/api/v1/demo/status';
const JOBS = '/api/v1/jobs?page_size=20';
const ME = '/api/v1/auth/me';
let browser;
let server;

beforeEach(() => {
  browser = new Browser();
  server = browser.server;
  server.answers.set(DEMO, demo(1, 'disabled'));
  server.answers.set(JOBS, { jobs: [] });
});

afterEach(() => browser.end());

const tabs = async (count) => [await browser.tab(), ...(await Promise.all(Array.from({ length: count - 1 }, () => browser.tab())))];
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('three tabs have one stream, and are in step', async () => {
  const three = await tabs(3);
  for (const version of [1, 2]) await server.tell(job(version));
  await server.show('job', job(3)); // progress
  await server.show('demo', demo(1));
  await server.show('notification', { notification_id: 'n1' });
  for (const tab of three) {
    assert.deepEqual(tab.seen.jobs, [1, 2, 3]);
    assert.deepEqual(tab.seen.demos, [1]);
    assert.equal(tab.watched.state, 'open');
    assert.equal(tab.watched.lastEventId, '2');
  }
  assert.deepEqual(server.opened, ['/api/v1/events?last_event_id=0']);
  assert.deepEqual(server.requests, []);
});

for (const [how, leave] of [
  ['closes its watch', (tab) => tab.watched.close()],
  ['is closed', (tab) => (tab.fire('pagehide'), tab.crash())],
  ['crashes', (tab) => tab.crash()],
  ['is about to be frozen', (tab) => (tab.fire('freeze'), tab.freeze())],
]) {
  test(`when the leader ${how}, another goes on from the last event`, async () => {
    const [first, second, third] = await tabs(3);
    await server.tell(job(1));
    leave(first);
    server.journal.push(job(2), job(3)); // nobody is there to hear
    await settle();
    await server.tell(job(4));
    for (const tab of [second, third]) {
      assert.deepEqual(tab.seen.jobs, [1, 2, 3, 4]);
      assert.deepEqual(tab.seen.states, ['connecting', 'open']);
    }
    assert.deepEqual(browser.leader, [second]);
    assert.deepEqual(server.opened.slice(1), ['/api/v1/events?last_event_id=1']);
  });
}

test('a page rendered before the last event of the leader gets the rest, and opens no stream', async () => {
  await browser.tab();
  for (const version of range(1, 5)) await server.tell(job(version));
  await server.show('job', job(6));
  await server.show('demo', demo(2));
  const late = await browser.tab({ lastEventId: '2' });
  assert.deepEqual(late.seen.jobs, [3, 4, 5, 6]);
  assert.deepEqual(late.seen.demos, [2]);
  await server.tell(job(7));
  assert.deepEqual(late.seen.jobs, [3, 4, 5, 6, 7]);
  assert.equal(server.opened.length, 1);
});

test('a page that was rendered with more than the leader has heard misses nothing either', async () => {
  await browser.tab();
  await server.tell(job(1));
  const early = await browser.tab({ lastEventId: '2' });
  await server.tell(job(2));
  await server.tell(job(3));
  assert.equal(early.seen.jobs.at(-1), 3);
  assert.equal(server.opened.length, 1);
});

test('what the leader remembers no more is fetched, and the page hears of it', async () => {
  await browser.tab();
  for (const version of range(1, 300)) await server.tell(job(version));
  server.answers.set(JOBS, { jobs: [job(300)] });
  const late = await browser.tab({ lastEventId: '3' });
  assert.equal(late.seen.resets, 1);
  assert.deepEqual(late.seen.jobs, [300]);
  const recent = await browser.tab({ lastEventId: '290' });
  assert.equal(recent.seen.resets, 0);
  assert.deepEqual(recent.seen.jobs, range(291, 300));
  await server.tell(job(301));
  assert.equal(late.seen.jobs.at(-1), 301);
});

test('a page without a position gets current snapshots', async () => {
  await browser.tab();
  await server.tell(job(5));
  server.answers.set(JOBS, { jobs: [job(5)] });
  const late = await browser.tab({ lastEventId: '' });
  assert.deepEqual(late.seen.jobs, [5]);
  await server.tell(job(6));
  assert.deepEqual(late.seen.jobs, [5, 6]);
  assert.equal(late.seen.resets, 0);
  assert.equal(late.watched.lastEventId, '2');
});

test('a message that did not arrive is asked for again', async () => {
  const [, second] = await tabs(2);
  await server.tell(job(1));
  second.hears = false;
  await server.tell(job(2));
  await server.tell(job(3));
  second.hears = true;
  await server.tell(job(4));
  assert.deepEqual(second.seen.jobs, [1, 2, 3, 4]);
});

test('a ping shows what was missed when nothing happens afterwards', async () => {
  const [, second] = await tabs(2);
  second.hears = false;
  await server.tell(job(1));
  second.hears = true;
  await server.show('ping', {});
  assert.deepEqual(second.seen.jobs, [1]);
});

test('a leader that takes over is behind a tab that had heard more, and tells it nothing twice', async () => {
  const [first, second, third] = await tabs(3);
  second.hears = false;
  await server.tell(job(1));
  await server.tell(job(1, 'pending', { job_id: 'j2' }));
  await server.tell({ job_id: 'j3', status: 'running' }); // only its id shows that it is sent twice
  second.hears = true;
  first.crash();
  await settle();
  assert.deepEqual(browser.leader, [second]);
  assert.deepEqual(third.seen.jobs, [1, 1, undefined]);
  assert.deepEqual(second.seen.jobs, [1, 1, undefined]);
});

test('a leader that is frozen without a word is replaced as soon as somebody looks', async () => {
  const first = await browser.tab();
  const second = await browser.tab({ hidden: true });
  first.freeze();
  server.journal.push(job(1), job(2, 'completed'));
  await pass(20_000);
  assert.deepEqual(second.seen.jobs, []);
  second.show(true);
  await pass(1500);
  assert.deepEqual(second.seen.jobs, [1, 2]);

  first.thaw();
  await settle();
  await server.tell(job(1, 'pending', { job_id: 'j2' }));
  assert.deepEqual(browser.leader, [second]);
  assert.deepEqual(first.seen.jobs, [1, 2, 1]);
  second.watched.close();
  await settle();
  assert.deepEqual(browser.leader, [first]);
});

test('a leader minds nobody', async () => {
  const [first, second] = await tabs(2);
  const [channel] = second.channels;
  channel.postMessage({ state: 'offline', hidden: false });
  await settle();
  assert.equal(first.watched.state, 'open');
});

test('a question that was not heard is asked again', async () => {
  const [first, second] = await tabs(2);
  second.hears = false;
  await server.tell(job(1));
  second.hears = true;
  first.hears = false;
  await server.tell(job(2));
  first.hears = true;
  assert.deepEqual(second.seen.jobs, []);
  await server.show('ping', {});
  assert.deepEqual(second.seen.jobs, [1, 2]);
});

test('a page from before a renumbering of the events continues with the others', async () => {
  await browser.tab();
  await server.tell(job(1));
  const old = await browser.tab({ lastEventId: '900' });
  await server.tell(job(2));
  assert.equal(old.seen.jobs.at(-1), 2);
  assert.equal(old.watched.lastEventId, '2');
});

test('the first tab of all knows where the stream begins', async () => {
  await server.tell(job(1));
  const tab = await browser.tab({ lastEventId: '' });
  assert.equal(tab.watched.lastEventId, '1');
});

test('a leader whose pings stop is replaced', async () => {
  const [first, second] = await tabs(2);
  first.freeze();
  server.journal.push(job(1));
  await pass(41_000);
  assert.deepEqual(second.seen.jobs, [1]);
});

test('a leader that answers keeps the lead', async () => {
  const [first, second] = await tabs(2);
  second.show(false);
  second.show(true);
  for (let time = 0; time < 20; time++) {
    await pass(15_000);
    await server.show('ping', {});
  }
  assert.deepEqual(browser.leader, [first]);
  assert.equal(server.opened.length, 1);
});

test('a page in the back-forward cache holds neither stream nor channel nor lock, and comes back to what it missed', async () => {
  const [first, second] = await tabs(2);
  first.fire('pagehide');
  await settle();
  assert.equal(first.channels.size, 0);
  assert.deepEqual(browser.leader, [second]);
  await server.tell(job(1));
  await server.tell(job(2));
  assert.deepEqual(first.seen.jobs, []);
  first.fire('pageshow');
  await settle();
  assert.deepEqual(first.seen.jobs, [1, 2]);
  assert.deepEqual(browser.leader, [second]);
  first.fire('pagehide');
  second.watched.close();
  await settle();
  assert.deepEqual(browser.leader, []);
});

test('a page that never heard of anybody is not sure of its user when it comes back', async () => {
  const first = await browser.tab();
  first.freeze();
  const second = await browser.tab({ hidden: true });
  second.fire('pagehide');
  server.user = 'jonas';
  second.fire('pageshow');
  second.show(true);
  await pass(2000);
  assert.equal(second.seen.states.at(-1), 'signed-out');
});

test('while nobody can say who is signed in, nothing is opened', async () => {
  const [first, second] = await tabs(2);
  const { fetch } = server;
  server.fetch = async () => {
    throw new TypeError('fetch failed');
  };
  server.user = 'jonas';
  first.crash();
  await pass(5000);
  assert.equal(server.opened.length, 1);
  server.fetch = fetch;
  await pass(60_000);
  assert.equal(second.seen.states.at(-1), 'signed-out');
  assert.equal(server.opened.length, 1);
});

test('a lone page that comes back leads again, if its user is still signed in', async () => {
  const tab = await browser.tab();
  tab.fire('pagehide');
  server.journal.push(job(1));
  tab.fire('pageshow');
  await settle();
  assert.deepEqual(tab.seen.jobs, [1]);
  tab.fire('pagehide');
  server.user = 'jonas';
  server.journal.push(job(2));
  tab.fire('pageshow');
  await settle();
  assert.deepEqual(tab.seen.jobs, [1]);
  assert.equal(tab.seen.states.at(-1), 'signed-out');
  assert.equal(server.opened.length, 2);
});

test('signing out ends all tabs', async () => {
  const three = await tabs(3);
  server.user = null;
  await server.show('bye', { reason: 'session_expired' });
  for (const tab of three) {
    assert.deepEqual(tab.seen.states, ['connecting', 'open', 'signed-out']);
    assert.equal(tab.watched.state, 'closed');
    assert.equal(tab.channels.size, 0);
  }
  await pass(120_000);
  assert.equal(server.opened.length, 1);
  assert.ok(server.requests.every(({ url }) => url === ME));
});

test('somebody else who has signed in is never mistaken for the user of the page', async () => {
  const [first, second] = await tabs(2);
  server.user = 'jonas';
  first.crash();
  await settle();
  assert.equal(second.seen.states.at(-1), 'signed-out');
  assert.equal(server.opened.length, 1);
  const other = await browser.tab({ user: 'jonas' });
  await server.tell(job(7));
  assert.deepEqual(other.seen.jobs, [7]);
  assert.deepEqual(second.seen.jobs, []);
});

test('while the stream polls, nothing of somebody else who has signed in gets through', async () => {
  const tab = await browser.tab();
  server.isUp = false;
  for (let time = 0; time < 8; time++) {
    for (const source of server.sources) source.fail();
    await pass(10_000);
  }
  assert.equal(tab.watched.state, 'polling');
  server.user = 'jonas';
  server.answers.set(DEMO, demo(9));
  server.answers.set(ME, { user_id: 'jonas' });
  server.isUp = true;
  await pass(20_000);
  assert.deepEqual(tab.seen.demos, []);
  assert.equal(tab.seen.states.at(-1), 'signed-out');
});

test('a session that ended goes on when the same user has signed in again', async () => {
  const two = await tabs(2);
  await server.show('bye', { reason: 'session_expired' });
  await server.tell(job(1));
  for (const tab of two) assert.deepEqual(tab.seen.jobs, [1]);
});

test('a leader that has heard nothing yet resets nobody', async () => {
  server.isUp = false;
  await browser.tab({ lastEventId: '' });
  server.journal.push(job(1));
  const second = await browser.tab({ lastEventId: '1' });
  server.isUp = true;
  await pass(2000);
  await server.tell(job(2));
  assert.deepEqual(second.seen.jobs, [2]);
  assert.equal(second.seen.resets, 0);
  assert.equal(second.watched.lastEventId, '2');
});

test('tabs that do not hear each other do not fight for the lead', async () => {
  const [first, second] = await tabs(2);
  for (const tab of [first, second]) tab.hears = false;
  second.show(true);
  for (let time = 0; time < 3; time++) {
    await pass(11_000);
    await server.show('ping', {});
  }
  assert.ok(server.opened.length <= 2, `${server.opened.length} streams`);
});

test('one watch that fails keeps nothing from the others', async () => {
  const tab = await browser.tab({ watch: false });
  const errors = [];
  tab.globals.queueMicrotask = tab.context.queueMicrotask = (callback) => queueMicrotask(() => {
    try {
      callback();
    } catch (error) {
      errors.push(error.message);
    }
  });
  tab.repruv.watchEvents({ job: () => { throw new Error('a mistake'); } }, { user: 'mina', lastEventId: '0' });
  tab.watch({ lastEventId: '0' });
  await settle();
  await server.tell(job(1));
  assert.deepEqual(tab.seen.jobs, [1]);
  assert.deepEqual(errors, ['a mistake']);
});

test('users share nothing', async () => {
  const mina = await browser.tab();
  const jonas = await browser.tab({ user: 'jonas' });
  assert.equal(server.opened.length, 2);
  jonas.channels.clear();
  assert.equal(mina.channels.size, 1);
});

for (const lacks of [['locks'], ['BroadcastChannel']]) {
  test(`without ${lacks} each tab has its own stream`, async () => {
    const two = [await browser.tab({ lacks }), await browser.tab({ lacks })];
    await server.tell(job(1));
    for (const tab of two) assert.deepEqual(tab.seen.jobs, [1]);
    assert.equal(server.sources.size, 2);
    assert.deepEqual(browser.said, []);
  });
}

test('a page that does not say whose it is has its own stream', async () => {
  await browser.tab({ user: '' });
  await browser.tab({ user: '' });
  assert.equal(server.sources.size, 2);
  assert.deepEqual(browser.said, []);
});

test('all tabs know that it polls, and one of them does', async () => {
  const [first, second] = await tabs(2);
  server.isUp = false;
  for (let time = 0; time < 8; time++) {
    for (const source of server.sources) source.fail();
    await pass(10_000);
  }
  for (const tab of [first, second]) assert.deepEqual(tab.seen.states, ['connecting', 'open', 'reconnecting', 'polling']);
  server.requests.length = 0;
  for (const [url, answer] of [[ME, { user_id: 'mina' }], [DEMO, demo(4)], [JOBS, { jobs: [job(3)] }]]) server.answers.set(url, answer);
  server.fetch = async (url, options, tab) => {
    server.requests.push({ url, tab });
    return Response.json(server.answers.get(url));
  };
  await pass(6000);
  for (const tab of [first, second]) {
    assert.deepEqual(tab.seen.demos, [4]);
    assert.deepEqual(tab.seen.jobs, [3]);
  }
  assert.ok(server.requests.every(({ tab }) => tab === first));
});

test('a hidden leader that has lost its stream leaves it to a tab that somebody looks at', async () => {
  const first = await browser.tab();
  const second = await browser.tab();
  first.show(false);
  for (const source of server.sources) source.fail();
  await pass(1000);
  assert.deepEqual(browser.leader, [second]);
  await server.tell(job(1));
  assert.deepEqual(second.seen.jobs, [1]);
  first.show(true);
  assert.deepEqual(first.seen.jobs, [1]);
});

test('watches of one page share its stream, and a job rides on it', async () => {
  const tab = await browser.tab();
  server.answers.set('/api/v1/jobs/j1', job(1));
  const received = [];
  const watch = tab.repruv.watchJob('j1', { update: (each) => received.push(each.version), done: () => received.push('done') }, { user: 'mina' });
  await settle();
  assert.deepEqual(received, [1]);
  await server.tell(job(2));
  await server.tell(job(9, 'running', { job_id: 'another' }));
  await server.tell(job(3, 'completed'));
  await server.tell(job(4, 'completed'));
  assert.deepEqual(received, [1, 2, 3, 'done']);
  assert.equal(watch.state, 'closed');
  assert.equal(server.opened.length, 1);
});

test('a job that ended before the page knew is done at once', async () => {
  const tab = await browser.tab();
  await server.tell(job(2, 'completed'));
  const received = [];
  tab.repruv.watchJob('j1', { done: (each) => received.push(each.version) }, { user: 'mina', lastEventId: '0' });
  await settle();
  assert.deepEqual(received, [2]);
  assert.equal(tab.watched.state, 'open');
});

test('a job that the stream does not poll for is polled by the tab that watches it', async () => {
  const tab = await browser.tab();
  server.answers.set('/api/v1/jobs/old', job(1, 'running', { job_id: 'old' }));
  const received = [];
  const watch = tab.repruv.watchJob('old', { update: (each) => received.push(each.version) }, { user: 'mina' });
  server.isUp = false;
  for (let time = 0; time < 8; time++) {
    for (const source of server.sources) source.fail();
    await pass(10_000);
  }
  assert.equal(watch.state, 'polling');
  server.answers.set('/api/v1/jobs/old', job(2, 'running', { job_id: 'old' }));
  server.answers.set(ME, {});
  server.isUp = true;
  const { accept } = server;
  server.accept = async (source) => (await settle(), source.fail()); // streams alone do not get through
  await pass(6000);
  assert.deepEqual(received, [1, 2]);
  server.accept = accept;
  watch.close();
});

test('after a reset a job is fetched by the tab that watches it', async () => {
  const tab = await browser.tab();
  const received = [];
  tab.repruv.watchJob('old', { update: (each) => received.push(each.version) }, { user: 'mina', lastEventId: '0' });
  await settle();
  server.answers.set('/api/v1/jobs/old', job(5, 'running', { job_id: 'old' }));
  await server.show('reset', { reason: 'cursor_unknown' }, '7');
  assert.deepEqual(received, [5]);
  assert.equal(tab.watched.lastEventId, '7');
});

test('the last watch of a page gives the lead away', async () => {
  const first = await browser.tab();
  const second = await browser.tab();
  first.watched.close();
  await settle();
  assert.deepEqual(browser.leader, [second]);
  assert.equal(first.channels.size, 0);
  first.watch({ lastEventId: '0' });
  await settle();
  await server.tell(job(1));
  assert.deepEqual(first.seen.jobs, [1]);
  assert.equal(server.sources.size, 1);
});
