// The types are TypeScript as far as a parser can say, and name what the modules export.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { test } from 'node:test';

import './react_page.mjs';

for (const name of ['repruv', 'repruv-react']) {
  test(`${name}.d.ts names what ${name}.js exports`, async () => {
    const file = new URL(`../../gateway/static/${name}.d.ts`, import.meta.url);
    const text = readFileSync(file, 'utf8');
    stripTypeScriptTypes(text, { mode: 'strip' });
    const declared = [...text.matchAll(/^export (?:function|class|const) (\w+)/gm)].map((match) => match[1]);
    const exported = Object.keys(await import(new URL(`./${name}.js`, file)));
    assert.deepEqual(declared.sort(), exported.sort());
  });
}
