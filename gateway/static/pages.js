/* Behaviour of pages beyond forms and links. All events are delegated, so replaced fragments need no setup. */

import { ago, setClock, until } from './ago.js';

document.documentElement.classList.add('js');
setClock(document.body.dataset.now);

// Pages show times in the zone of the profile, or else in this one.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const secure = location.protocol === 'https:' ? '; Secure' : '';
if (zone) document.cookie = `time_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;

// A row of tabs that is wider than a phone shows the current one.
const tab = document.querySelector('.subnav [aria-current]');
if (tab) {
  const row = tab.parentElement;
  row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
}

// The server has answered or timed out by then; after a stopped load or a lost network the form can be sent again.
const RELEASE_AFTER_MS = 20_000;

// One click is one request: the button shows that it is busy, and a second click does nothing.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.method === 'dialog') return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = 'yes';
  setTimeout(release, RELEASE_AFTER_MS, form);
  // Browsers save the text of visible fields, and show it again to the next person.
  for (const revealer of form.querySelectorAll('[data-reveal]')) reveal(revealer, false);
  const button = event.submitter ?? form.querySelector('button:not([type=button])');
  if (!button?.dataset.busy) return;
  button.dataset.text = button.textContent;
  button.textContent = button.dataset.busy;
  button.setAttribute('aria-disabled', 'true');
});

// A page from the back-forward cache accepts another click.
addEventListener('pageshow', (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll('form[data-sent]')) release(form);
});

function release(form) {
  delete form.dataset.sent;
  for (const button of form.querySelectorAll('[data-text]')) {
    button.textContent = button.dataset.text;
    button.removeAttribute('aria-disabled');
  }
}

document.addEventListener('click', (event) => {
  const opener = event.target.closest('[data-dialog]');
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    dialog.showModal();
  }
  const closer = event.target.closest('[data-close]');
  if (closer) document.getElementById(closer.dataset.close).remove();
  const copier = event.target.closest('[data-copy]');
  if (copier) copy(copier, document.getElementById(copier.dataset.copy));
  const revealer = event.target.closest('[data-reveal]');
  if (revealer) reveal(revealer, document.getElementById(revealer.dataset.reveal).type === 'password');
});

function reveal(button, isShown) {
  document.getElementById(button.dataset.reveal).type = isShown ? 'text' : 'password';
  button.querySelector('[data-reveal-text]').textContent = isShown ? 'Hide' : 'Show';
}

async function copy(button, source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    return getSelection().selectAllChildren(source); // no permission, or no secure context: the user can press Ctrl-C
  }
  const text = button.querySelector('[data-copy-text]');
  const before = text.textContent;
  if (before === button.dataset.copied) return;
  text.textContent = button.dataset.copied;
  document.getElementById('announcer').textContent = button.dataset.copied;
  setTimeout(() => (text.textContent = before), 2000);
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll('time[data-ago]')) {
    const text = ago(time.dateTime);
    if (text && text !== time.textContent) time.textContent = text;
  }
  for (const time of document.querySelectorAll('time[data-until]')) {
    const text = until(time.dateTime);
    if (text !== time.textContent) time.textContent = text;
  }
}, 60_000);

if (document.body.dataset.stream) {
  try {
    const { start } = await import('./live.js');
    start(document.body.dataset);
  } catch (error) {
    // The connection broke while the page was loading: it would never change, and not say so.
    console.error(error);
    const box = document.getElementById('link-state');
    box.dataset.state = 'unloaded';
    box.hidden = false;
    document.getElementById('announcer').textContent = box.querySelector('[data-when="unloaded"] span').textContent;
  }
}

if (document.querySelector('[data-passkey]')) {
  const { offerPasskeys } = await import('./passkeys.js');
  offerPasskeys();
}

const notify = document.getElementById('notify');
if (notify) {
  const { offerNotifications } = await import('./attention.js');
  offerNotifications(notify);
}
