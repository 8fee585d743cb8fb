/* Shows in a hidden tab that a job has ended: in its title, its icon, and, if the user has enabled it, a notification. */

const STORAGE_KEY = 'repruv-notify';
// The unread count precedes the page's name; progress or an outcome replaces it.
const name = document.title.replace(/^\(\d+\+?\) /, '');
let title = document.title;
const icon = document.querySelector('link[rel="icon"]');
const plain = icon?.href;

/** Shows the progress of the page's job in the title. */
export function showPercent(percent) {
  document.title = `(${percent}%) ${name}`;
}

/** Restores title and icon. */
export function resetTitle() {
  if (document.hidden && document.title !== title) return; // shows the outcome until the tab is shown
  document.title = title;
  if (icon) icon.href = plain;
}

/** Marks a hidden tab with the outcome of a job that the page shows or of a new notification. */
export function markEnded(status) {
  if (!document.hidden) return;
  document.title = `${status === 'failed' ? '✕' : '✓'} ${name}`;
  if (icon) icon.href = (status === 'failed' && icon.dataset.failed) || icon.dataset.unread || plain;
}

/** Shows the unread count of a new fragment, and notifies about its latest notification if that is newer than all before. */
export function updateUnread(page) {
  const { latest, latestAt, status, text, count } = page.getElementById('bell')?.dataset ?? {};
  const before = title;
  title = count ? `(${count}) ${name}` : name;
  if (document.title === before) document.title = title;
  // When others are read, the latest of those that remain is an old one.
  if (!latest || !(Date.parse(latestAt) > lastEnd)) return;
  lastEnd = Date.parse(latestAt);
  markEnded(status);
  if (!document.hidden || !mayNotify()) return;
  // The same tag in every tab: the system shows it once.
  const notification = new Notification('Repruv', { body: text, tag: latest, icon: plain });
  notification.onclick = () => {
    window.focus();
    location.assign(`/jobs/${latest}`);
  };
}

let lastEnd = Date.parse(document.getElementById('bell')?.dataset.latestAt) || 0;

/* The setting belongs to this browser, and permission is requested by a button only. */

function mayNotify() {
  return 'Notification' in window && Notification.permission === 'granted' && localStorage.getItem(STORAGE_KEY) === 'yes';
}

/** Shows `box` with its buttons `[data-notify="on"]` and `"off"`, and the setting in `[data-notify-state]`. */
export function offerNotifications(box) {
  const label = box.querySelector('[data-notify-state]');
  const draw = () => {
    const isPossible = 'Notification' in window;
    const state = !isPossible ? 'impossible' : mayNotify() ? 'on' : Notification.permission === 'denied' ? 'denied' : 'off';
    label.textContent = label.dataset[state];
    box.querySelector('[data-notify="on"]').hidden = state !== 'off';
    box.querySelector('[data-notify="off"]').hidden = state !== 'on';
  };
  box.addEventListener('click', async ({ target }) => {
    const button = target.closest('[data-notify]');
    if (!button) return;
    const isEnabled = button.dataset.notify === 'on' && (await Notification.requestPermission()) === 'granted';
    if (isEnabled) localStorage.setItem(STORAGE_KEY, 'yes');
    else localStorage.removeItem(STORAGE_KEY);
    draw();
  });
  draw();
  box.hidden = false;
}
