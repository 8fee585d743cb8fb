/* Runs before the scripts of a page. Collects the browser's metrics: paint, layout shift, long tasks, interactions. */
window.seen = { lcp: 0, cls: 0, long: [], interactions: {} };
const note = (type, take, options = {}) => new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true, ...options });
note('largest-contentful-paint', (entry) => { window.seen.lcp = entry.startTime; });
note('layout-shift', (entry) => { if (!entry.hadRecentInput) window.seen.cls += entry.value; });
note('longtask', (entry) => window.seen.long.push(entry.duration));
// One interaction has several events; the longest one is its latency.
note('event', ({ interactionId, duration }) => {
  if (interactionId) window.seen.interactions[interactionId] = Math.max(duration, window.seen.interactions[interactionId] ?? 0);
}, { durationThreshold: 16 });
