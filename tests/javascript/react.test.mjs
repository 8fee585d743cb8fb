import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { browser, job, pass, restore, settle } from './fakes.mjs';
import { dom } from './react_page.mjs';

const { StrictMode, act, createElement } = await import('react');
const { createRoot, hydrateRoot } = await import('react-dom/client');
const { renderToString } = await import('react-dom/server');
const { useJob, usePoll } = await import('../../gateway/static/repruv-react.js');

const PATH = '/api/v1/jobs/j1';
let env;
let box;
let root;
let errors;

beforeEach(() => {
  env = browser();
  globalThis.document = dom;
  errors = mock.method(console, 'error', () => {});
  box = dom.createElement('div');
  dom.body.append(box);
  root = null;
});

afterEach(async () => {
  if (root) await act(() => root.unmount());
  const complaints = errors.mock.calls.map(({ arguments: [text] }) => text);
  restore();
  assert.deepEqual(complaints, []);
});

let views;

function JobPage({ jobId = 'j1', ...options }) {
  const view = useJob(jobId, { user: '', ...options });
  views.push(view);
  return createElement('p', null, `${view.state} ${view.job?.status ?? '-'} ${view.job?.version ?? '-'}${view.error ? ` ${view.error.status}` : ''}`);
}

function PollPage({ fn, ...options }) {
  const { value, error, isDone } = usePoll(fn, { interval: 1000, maxInterval: 1000, ...options });
  views.push(value);
  return createElement('p', null, `${value?.version ?? '-'} ${isDone} ${error?.message ?? ''}`);
}

async function show(page, props, { strict = true } = {}) {
  views = [];
  const element = createElement(page, props);
  if (!root) root = createRoot(box);
  await act(async () => {
    root.render(strict ? createElement(StrictMode, null, element) : element);
    await settle();
  });
}

const tell = (version, status) => act(() => env.source().emit('job', job(version, status), String(version)));
const text = () => box.textContent;
const open = () => env.sources().filter((source) => !source.closed);

test('a component shows its job until the end, with one stream, though StrictMode mounts it twice', async () => {
  await show(JobPage, {});
  assert.equal(text(), 'connecting - -');
  assert.equal(open().length, 1);
  await act(() => env.source().hello());
  await tell(1, 'running');
  assert.equal(text(), 'open running 1');
  await tell(2, 'completed');
  assert.equal(text(), 'closed completed 2');
  assert.equal(open().length, 0);
});

test('the view is the same object until something changes', async () => {
  await show(JobPage, {}, { strict: false });
  await act(() => env.source().hello());
  await tell(1, 'running');
  const last = views.at(-1);
  await tell(1, 'running');
  await show(JobPage, {}, { strict: false });
  assert.equal(views.at(-1), last);
});

test('nothing happens after the component has gone', async () => {
  await show(JobPage, {});
  const source = env.source();
  await act(() => root.unmount());
  root = null;
  const count = views.length;
  source.emit('job', job(5, 'completed'), '5');
  await pass(60_000);
  assert.equal(open().length, 0);
  assert.equal(views.length, count);
});

test('a job that the server knew begins there, and older news is no news', async () => {
  await show(JobPage, { initial: job(4), lastEventId: '40' });
  assert.equal(text(), 'connecting running 4');
  assert.equal(env.source().url, `${PATH}/events?last_event_id=40`);
  await act(() => env.source().hello('40'));
  await tell(3, 'pending');
  assert.equal(text(), 'open running 4');
});

test('a job that had ended needs no stream, and no job neither', async () => {
  await show(JobPage, { initial: job(4, 'failed') });
  assert.equal(text(), 'closed failed 4');
  await show(JobPage, { jobId: null });
  assert.equal(text(), 'closed - -');
  assert.equal(env.sources().length, 0);
});

test('another job is another watch', async () => {
  await show(JobPage, { initial: job(4) });
  await act(() => env.source().hello());
  await show(JobPage, { jobId: 'j2', initial: job(4) });
  assert.equal(text(), 'connecting - -');
  assert.deepEqual(open().map((source) => source.url), ['/api/v1/jobs/j2/events']);
});

test('options that are new objects in each rendering restart nothing', async () => {
  await show(JobPage, { initial: job(1) });
  const before = env.sources().length;
  await show(JobPage, { initial: job(2) });
  assert.equal(env.sources().length, before);
});

test('a job that does not exist is an error', async () => {
  env.server.answers.set(PATH, { status: 404, body: { code: 'job_not_found' } });
  await show(JobPage, {});
  await act(async () => {
    env.source().fail();
    await pass(1000);
  });
  assert.equal(text(), 'closed - - 404');
  assert.equal(open().length, 0);
});

test('a server renders the first view, and the page takes it over without a difference', async () => {
  views = [];
  const element = createElement(StrictMode, null, createElement(JobPage, { initial: job(4), lastEventId: '40' }));
  box.innerHTML = renderToString(element);
  assert.equal(text(), 'connecting running 4');
  assert.equal(env.sources().length, 0);
  await act(() => {
    root = hydrateRoot(box, element, { onRecoverableError: (error) => errors(error) });
  });
  assert.equal(open().length, 1);
  await act(() => env.source().hello('40'));
  assert.equal(text(), 'open running 4');
});

test('polling shows each answer, and ends with the last', async () => {
  let version = 0;
  await show(PollPage, { fn: async () => job(++version), until: (value) => value.version >= 4 });
  const first = version;
  assert.equal(text(), `${first} false `);
  await act(() => pass(1000));
  await act(() => pass(5000));
  assert.equal(text(), '4 true ');
  assert.equal(version, 4);
});

test('an answer that has not changed is not rendered again', async () => {
  const same = job(1);
  await show(PollPage, { fn: async () => same });
  const count = views.length;
  await act(() => pass(5000));
  assert.equal(views.length, count);
});

test('polling ends with the component, and with an error that retries cannot change', async () => {
  let calls = 0;
  await show(PollPage, { fn: async () => job(++calls) });
  await act(() => root.unmount());
  root = null;
  const before = calls;
  await pass(10_000);
  assert.equal(calls, before);

  await show(PollPage, { fn: () => Promise.reject(new Error('no')) });
  assert.equal(text(), '- true no');
});

test('the newest function is called, another key starts over, and polling can be disabled', async () => {
  const asked = [];
  const page = (name, options) => show(PollPage, { fn: async () => void asked.push(name), ...options });
  await page('a', { enabled: false });
  await act(() => pass(3000));
  assert.deepEqual(asked, []);
  await page('a', { key: '1' });
  await page('b', { key: '1' });
  asked.length = 0;
  await act(() => pass(1000));
  assert.deepEqual(asked, ['b']);
  await page('c', { key: '2' });
  assert.equal(asked.at(-1), 'c');
});
