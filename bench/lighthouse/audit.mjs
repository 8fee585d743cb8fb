/* Audits pages with Lighthouse. Reads the list of pages as JSON from stdin and writes one JSON line per audit to stdout. */

import { text } from 'node:stream/consumers';

import lighthouse, { desktopConfig } from 'lighthouse';
import puppeteer from 'puppeteer-core';

const CATEGORIES = ['performance', 'accessibility', 'best-practices'];
const METRICS = ['first-contentful-paint', 'largest-contentful-paint', 'total-blocking-time', 'cumulative-layout-shift'];
const ATTEMPTS = 3;
const CONFIGS = { mobile: undefined, desktop: desktopConfig };
// Lighthouse deletes only caches before a visit, so cookies that are already set are sent.
const FLAGS = { onlyCategories: CATEGORIES, logLevel: 'silent' };

const { chromium, args, url, audits } = JSON.parse(await text(process.stdin));
const browser = await puppeteer.launch({ executablePath: chromium, args, headless: true });
try {
  for (const { page, preset } of audits) {
    const lhr = await audit(page, preset);
    process.stdout.write(`${JSON.stringify({ page: page.name, preset, ...judged(lhr) })}\n`);
  }
} finally {
  await browser.close();
}

/** Judges a page; once more where Lighthouse could not (now and then Chromium's trace lacks the navigation), never for a low score. */
async function audit(page, preset) {
  for (let attempt = 1; ; attempt += 1) {
    const { lhr } = await visited(page, (tab) => lighthouse(url + page.path, FLAGS, CONFIGS[preset], tab));
    if (!lhr.runtimeError || attempt === ATTEMPTS) return lhr;
  }
}

/** Does something in a tab of a browser that has the cookies of the page's visitor and nothing else. */
async function visited({ cookie }, act) {
  const context = await browser.createBrowserContext();
  try {
    for (const pair of cookie.split('; ').filter(Boolean)) {
      const [name, value] = pair.split('=');
      await context.setCookie({ name, value, domain: new URL(url).hostname, path: '/', httpOnly: true });
    }
    return await act(await context.newPage());
  } finally {
    await context.close();
  }
}

function judged({ finalDisplayedUrl, runtimeError, runWarnings, categories, audits }) {
  const failed = CATEGORIES.flatMap((name) => categories[name].auditRefs)
    .filter(({ weight, id }) => weight && audits[id].score !== null && audits[id].score < 0.9)
    .map(({ id }) => `${id}: ${audits[id].displayValue || audits[id].title} ${found(audits[id])}`);
  return {
    url: finalDisplayedUrl,
    error: runtimeError?.message ?? '',
    warnings: runWarnings,
    scores: Object.fromEntries(CATEGORIES.map((name) => [name, Math.round((categories[name].score ?? 0) * 100)])),
    metrics: Object.fromEntries(METRICS.map((name) => [name, audits[name].numericValue ?? null])),
    failed,
  };
}

/** The first things that an audit complains about, as far as it names any. */
function found({ details }) {
  const items = (details?.items ?? []).slice(0, 3);
  return items.map((item) => item.node?.selector ?? item.description ?? item.url ?? '').filter(Boolean).join(', ');
}
