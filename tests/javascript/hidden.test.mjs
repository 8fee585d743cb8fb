import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { watchEvents, watchJob } from '../../gateway/static/repruv.js';
import { browser, demo, job, restore } from './fakes.mjs';

let env;
let watch;
let received;

beforeEach(() => {
  env = browser();
  received = [];
});

afterEach(() => {
  watch.close();
  restore();
});

function start(background) {
  const note = (name) => (data) => received.push([name, data.version ?? data.notification_id]);
  watch = watchEvents({ job: note('job'), demo: note('demo'), notification: note('notification') }, { background });
  env.source().hello();
  env.show(false);
}

function happen() {
  env.source().emit('job', job(1));
  env.source().emit('job', job(2));
  env.source().emit('job', job(1, 'running', { job_id: 'j2' }));
  env.source().emit('demo', demo(1));
  env.source().emit('notification', { notification_id: 'n1' });
  env.source().emit('job', job(3, 'completed', { job_id: 'j3' }));
}

test('a hidden tab receives ends at once, and the newest of the rest when it becomes visible', () => {
  start();
  happen();
  assert.deepEqual(received.splice(0), [['notification', 'n1'], ['job', 3]]);
  env.show(false);
  assert.deepEqual(received, []);
  env.show(true);
  assert.deepEqual(received.splice(0), [['job', 2], ['job', 1], ['demo', 1]]);
  env.source().emit('job', job(4));
  assert.deepEqual(received.splice(0), [['job', 4]]);
  env.show(false);
  env.source().emit('job', job(5));
  env.show(true);
  assert.deepEqual(received, [['job', 5]]);
});

test('an end takes the place of what was kept', () => {
  start();
  happen();
  env.source().emit('job', job(5, 'failed'));
  env.source().emit('demo', demo(2, 'enabled'));
  env.show(true);
  assert.deepEqual(received, [['notification', 'n1'], ['job', 3], ['job', 5], ['demo', 2], ['job', 1]]);
});

test('a hidden tab can receive nothing, or everything', () => {
  start('none');
  happen();
  assert.deepEqual(received, []);
  env.show(true);
  assert.equal(received.length, 5);
  watch.close();
  received = [];
  start('all');
  happen();
  assert.equal(received.length, 6);
});

test('what was kept is gone after close', () => {
  start();
  happen();
  watch.close();
  received = [];
  env.show(true);
  assert.deepEqual(received, []);
});

test('a hidden tab learns the end of its job', () => {
  watch = watchJob('j1', { update: (each) => received.push(each.version), done: () => received.push('done') });
  env.source().hello();
  env.show(false);
  env.source().emit('job', job(2));
  env.source().emit('job', job(3, 'completed'));
  assert.deepEqual(received, [3, 'done']);
});
