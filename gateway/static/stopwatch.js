/* Clocks that count up: [data-elapsed] has the seconds at the time of its rendering. */

const started = new WeakMap();

setInterval(() => {
  if (document.hidden) return;
  for (const clock of document.querySelectorAll('[data-elapsed]')) {
    if (!started.has(clock)) started.set(clock, performance.now() - 1000 * clock.dataset.elapsed);
    clock.textContent = `${((performance.now() - started.get(clock)) / 1000).toFixed(1)} s`;
  }
}, 100);
