/* How a tab that nobody looks at says that something ended: its title, its icon, and, for whoever wished so, a notification. */

const WISH = 'repruv-notify';
// What is unread stands before the page's own name; a progress or an outcome takes its place.
const name = document.title.replace(/^\(\d+\+?\) /, '');
let title = document.title;
const icon = document.querySelector('link[rel="icon"]');
const plain = icon?.href;

/** Shows how far the page's job has come, in percent. */
export function showShare(percent) {
  document.title = `(${percent}%) ${name}`;
}

/** Shows the plain title, and icon, again. */
export function restTitle() {
  if (document.hidden && document.title !== title) return; // it says how it ended, until somebody looks
  document.title = title;
  if (icon) icon.href = plain;
}

/** Marks a hidden tab with how a job ended. */
export function ended(job) {
  if (!document.hidden) return;
  document.title = `${job.status === 'failed' ? '✕' : '✓'} ${name}`;
  if (icon) icon.href = (job.status === 'failed' && icon.dataset.failed) || icon.dataset.news || plain;
}

/** Counts what is unread in a fragment that has come, and tells of the newest of it, if it is another than the page's. */
export function fresh(page) {
  const { latest, text, count } = page.getElementById('bell')?.dataset ?? {};
  const before = title;
  title = count ? `(${count}) ${name}` : name;
  if (document.title === before) document.title = title;
  if (!latest || latest === told) return;
  told = latest;
  if (!document.hidden || !mayNotify()) return;
  // The same tag in every tab: the system shows it once.
  const shown = new Notification('Repruv', { body: text, tag: latest, icon: plain });
  shown.onclick = () => {
    window.focus();
    location.assign(`/jobs/${latest}`);
  };
}

let told = document.getElementById('bell')?.dataset.latest;

/* The wish is this browser's, and asked for by a button alone. */

function mayNotify() {
  return 'Notification' in window && Notification.permission === 'granted' && localStorage.getItem(WISH) === 'yes';
}

/** Lets `box` offer notifications: `[data-notify="on"]` and `"off"` are its buttons, `[data-notify-state]` says how it stands. */
export function offerNotifications(box) {
  const say = box.querySelector('[data-notify-state]');
  const draw = () => {
    const isPossible = 'Notification' in window;
    const state = !isPossible ? 'impossible' : mayNotify() ? 'on' : Notification.permission === 'denied' ? 'denied' : 'off';
    say.textContent = say.dataset[state];
    box.querySelector('[data-notify="on"]').hidden = state !== 'off';
    box.querySelector('[data-notify="off"]').hidden = state !== 'on';
  };
  box.addEventListener('click', async ({ target }) => {
    const button = target.closest('[data-notify]');
    if (!button) return;
    const isWanted = button.dataset.notify === 'on' && (await Notification.requestPermission()) === 'granted';
    if (isWanted) localStorage.setItem(WISH, 'yes');
    else localStorage.removeItem(WISH);
    draw();
  });
  draw();
  box.hidden = false;
}
