// docs/frontend.md: its code is parsed, what it imports exists, and what needs no framework runs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import vm from 'node:vm';

import { browser, job, pass, restore, settle } from './fakes.mjs';
import './react_page.mjs';

const DOCS = new URL('../../docs/frontend.md', import.meta.url);
const STATIC = new URL('../../gateway/static/', import.meta.url);
const LIBRARY = '@/lib/repruv/';
const FRAMEWORK = { 'next/headers': { headers: async () => new Headers({ cookie: 'session=s3cret' }) }, 'next/navigation': { notFound() {} } };

const blocks = [...readFileSync(DOCS, 'utf8').matchAll(/^```(jsx?) (\S+)\n([\s\S]*?)^```$/gm)].map(([, language, name, text]) => ({
  name,
  // Elements stand in parentheses of their own after `return`; the rest of a component is JavaScript.
  source: language === 'jsx' ? text.replace(/return \(\n[\s\S]*?\n {2}\);/g, 'return null;') : text,
}));
const named = new Map(blocks.map((block) => [block.name, block]));
let env;

beforeEach(() => (env = browser()));
afterEach(restore);

function module(name) {
  const source = named.get(name)?.source;
  assert.ok(source, `there is no ${name}`);
  return new vm.SourceTextModule(source, { identifier: name });
}

async function synthetic(exports) {
  return new vm.SyntheticModule(Object.keys(exports), function () {
    for (const [name, value] of Object.entries(exports)) this.setExport(name, value);
  });
}

async function link(specifier) {
  if (specifier.startsWith(LIBRARY)) return synthetic(await import(new URL(specifier.slice(LIBRARY.length), STATIC)));
  if (FRAMEWORK[specifier]) return synthetic(FRAMEWORK[specifier]);
  const name = specifier.replace(/^@\//, '').replace(/^\.\//, 'app/jobs/[id]/');
  return module(name);
}

async function load(name) {
  const loaded = module(name);
  await loaded.link(link); // fails for a name that is not exported
  await loaded.evaluate();
  return loaded.namespace;
}

test('the page has code', () => assert.equal(blocks.length, 8));

for (const { name } of blocks) {
  if (name === 'anywhere.js') continue; // see below
  test(`${name} is JavaScript, and imports what there is`, async () => {
    await load(name);
  });
}

test('the library is whole', () => {
  const text = readFileSync(DOCS, 'utf8');
  for (const file of ['repruv.js', 'repruv/', 'repruv-react.js']) assert.ok(text.includes(`\`${file}\``));
});

test('requests are passed on to the gateway', async () => {
  const { default: config } = await load('next.config.mjs');
  assert.deepEqual(await config.rewrites(), [{ source: '/api/:path*', destination: 'http://127.0.0.1:8080/api/:path*' }]);
});

test('the server calls the API as the user', async () => {
  const { fetchJson } = await load('lib/server.js');
  const url = 'http://127.0.0.1:8080/api/v1/auth/me';
  env.server.answers.set(url, (headers) => (headers.cookie === 'session=s3cret' ? { body: { user_id: 'u1' } } : { status: 401 }));
  assert.deepEqual(await fetchJson('/auth/me'), { user_id: 'u1' });
  env.server.answers.set(url, { status: 401 });
  assert.equal(await fetchJson('/auth/me'), null);
  env.server.answers.set(url, { status: 500 });
  await assert.rejects(fetchJson('/auth/me'), /500/);
});

test('everything of a user is watched', async (context) => {
  const log = context.mock.method(console, 'log', () => {});
  await load('anywhere.js');
  env.source().hello();
  env.source().emit('job', job(1));
  env.source().emit('bye', { reason: 'session_expired' });
  await settle();
  assert.deepEqual(log.mock.calls.map(({ arguments: [first, second] }) => `${first} ${second}`), [
    'the stream is connecting', 'the stream is open', 'j1 running', 'the stream is signed-out',
  ]);
});

test('demo mode is enabled, and its job waited for', async () => {
  const { enableDemo } = await load('lib/demo.js');
  env.server.answers.set('/api/v1/demo/enable', { status: 202, body: { job_id: 'j1' } });
  env.server.answers.set('/api/v1/jobs/j1/status', { body: job(1) });
  const seen = [];
  const end = enableDemo({ niche: 'food' }, { key: 'k1', onUpdate: (each) => seen.push(each.version) });
  await settle();
  env.server.answers.set('/api/v1/jobs/j1/status', { body: job(2, 'completed') });
  await pass(2000);
  assert.equal((await end).status, 'completed');
  assert.deepEqual(seen, [1, 2]);
  assert.equal(env.server.requests[0].headers['Idempotency-Key'], 'k1');

  env.server.answers.set('/api/v1/demo/enable', { status: 409, body: { code: 'demo_enabled', detail: 'It is.' } });
  await assert.rejects(enableDemo({}), { name: 'HttpError', status: 409, code: 'demo_enabled', message: 'It is.' });
});
