/* Times in words, as by the styles `ago` and `until` of the server. */

const LONGEST_LOAD_MS = 30_000;
let ahead = 0;

/** Learns how far the server's clock is ahead; a smaller difference is the time in which `time` arrived. */
export function setClock(time) {
  const difference = Date.parse(time) - Date.now();
  ahead = Math.abs(difference) > LONGEST_LOAD_MS ? difference : 0;
}

/** The server's time: the clock of a browser may be wrong. */
export const serverNow = () => Date.now() + ahead;

const STEPS = [[3600, 60, 'min'], [86_400, 3600, 'h'], [604_800, 86_400, 'd']];

const AHEAD = [[86_400, 'day'], [3600, 'hour'], [60, 'minute']];

/** "in 3 days", "in 5 minutes", "any moment". */
export function until(time, now = serverNow()) {
  const seconds = (Date.parse(time) - now) / 1000;
  if (seconds < 60) return seconds < 5 ? 'any moment' : 'in less than a minute';
  const [size, unit] = AHEAD.find(([size]) => seconds >= size);
  const count = Math.floor(seconds / size);
  return `in ${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** "just now", "5 min ago", "3 h ago", "2 d ago"; empty after a week, so that the server's date stays. */
export function ago(time, now = serverNow()) {
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 60) return 'just now';
  const step = STEPS.find(([limit]) => seconds < limit);
  return step ? `${Math.floor(seconds / step[1])} ${step[2]} ago` : '';
}
