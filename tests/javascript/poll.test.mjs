import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { HttpError, pollDemoStatus, pollJobStatus, pollUntil } from '../../gateway/static/repruv.js';
import { browser, demo, job, pass, restore, settle } from './fakes.mjs';

const STATUS = '/api/v1/jobs/j1/status';
let env;

beforeEach(() => (env = browser()));
afterEach(restore);

test('pollUntil answers with the first value that will do', async () => {
  let calls = 0;
  const result = pollUntil(() => ++calls, { until: (value) => value === 3, interval: 100 });
  await settle();
  await pass(100);
  await pass(150);
  assert.equal(await result, 3);
});

test('pollUntil waits longer each time, but never longer than the maximum', async () => {
  const times = [];
  const stop = new AbortController();
  const result = pollUntil(() => void times.push(Date.now()), { interval: 1000, maxInterval: 2000, signal: stop.signal });
  await settle();
  for (let step = 0; step < 75; step++) await pass(100);
  stop.abort();
  await assert.rejects(result, { name: 'AbortError' });
  assert.deepEqual(times, [0, 1000, 2500, 4500, 6500]);
});

test('pollUntil gives up after its timeout', async () => {
  const result = pollUntil(() => false, { interval: 1000, timeout: 1500 });
  const refused = assert.rejects(result, { name: 'TimeoutError' });
  await settle();
  await pass(1000);
  await refused;
});

test('pollUntil stops at once when it is aborted while it waits', async () => {
  const stop = new AbortController();
  const result = pollUntil(() => false, { signal: stop.signal });
  await settle();
  stop.abort(new Error('enough'));
  await assert.rejects(result, /enough/);
});

test('an error of the function itself is not waited out', async () => {
  await assert.rejects(pollUntil(() => { throw new TypeError('a bug'); }), /a bug/);
});

test('polling a job ends with the terminal snapshot and tells newer ones only', async () => {
  const versions = [1, 1, 3, 2, 4];
  env.server.answers.set(STATUS, () => {
    const version = versions.shift();
    return { body: job(version, version === 4 ? 'completed' : 'running') };
  });
  const seen = [];
  const result = pollJobStatus('j1', { interval: 10, maxInterval: 10, onUpdate: (each) => seen.push(each.version) });
  await settle();
  for (let step = 0; step < 4; step++) await pass(10);
  assert.equal((await result).status, 'completed');
  assert.deepEqual(seen, [1, 3, 4]);
});

test('an unchanged job is not downloaded again', async () => {
  let changed = false;
  env.server.answers.set(STATUS, (headers) => {
    if (changed) return { body: job(2, 'failed'), headers: { ETag: '"2"' } };
    return headers['If-None-Match'] === '"1"' ? { status: 304 } : { body: job(1), headers: { ETag: '"1"' } };
  });
  const result = pollJobStatus('j1', { interval: 10, maxInterval: 10 });
  await settle();
  await pass(10);
  changed = true;
  await pass(10);
  assert.equal((await result).version, 2);
  assert.deepEqual(env.server.requests.map((each) => each.headers['If-None-Match']), [undefined, '"1"', '"1"']);
});

test('what a page fetches automatically is marked: it does not keep its session in use', async () => {
  env.server.answers.set(STATUS, { body: job(1, 'completed') });
  await pollJobStatus('j1');
  assert.equal(env.server.requests[0].headers['X-Background'], '1');
});

test('Retry-After is honoured', async () => {
  const answers = [{ status: 503, headers: { 'Retry-After': '7' } }, { body: demo(2, 'enabled') }];
  env.server.answers.set('/api/v1/demo/status', () => answers.shift());
  const result = pollDemoStatus({ interval: 100 });
  await settle();
  await pass(6900);
  assert.equal(env.server.requests.length, 1);
  await pass(100);
  assert.equal((await result).status, 'enabled');
});

test('a network that is gone is waited out, a missing job is not', async () => {
  const result = pollJobStatus('j1', { interval: 10 });
  await settle();
  env.server.answers.set(STATUS, { status: 404, body: { code: 'not_found', detail: 'No such job.' } });
  const refused = assert.rejects(result, (error) => error instanceof HttpError && error.code === 'not_found' && error.status === 404);
  await pass(10);
  await refused;
});
