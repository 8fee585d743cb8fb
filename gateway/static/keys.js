/* Keys of the pages for admins: j and k move through the rows of lists, / goes to the search, ? shows the keys. */

const toggle = document.getElementById('keys-on');
const secure = location.protocol === 'https:' ? '; Secure' : '';
toggle.checked = !/\bkeys=off\b/.test(document.cookie);
// Speech input and slips type single letters. A cookie outlasts the sign-out, which clears the storage.
toggle.addEventListener('change', () => (document.cookie = `keys=off; Path=/admin; Max-Age=${toggle.checked ? 0 : 31_536_000}; SameSite=Lax${secure}`));

const rows = () => [...document.querySelectorAll('[data-row]')].filter((link) => link.checkVisibility());
const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  '/': () => document.querySelector('[data-key="/"]')?.select(),
  '?': () => document.getElementById('keys')?.showModal(),
};

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest('input, select, textarea, [contenteditable], dialog') || document.querySelector('dialog[open]')) return;
  if (!toggle.checked || !Object.hasOwn(ACTIONS, event.key)) return;
  event.preventDefault();
  ACTIONS[event.key]();
});

/** Focuses the next or the previous row: enter opens it, and the focus stays on it when the list refreshes. */
function move(step) {
  const links = rows();
  const current = links.findIndex((link) => link.closest('tr, li')?.contains(document.activeElement));
  links[Math.min(links.length - 1, current < 0 ? 0 : Math.max(0, current + step))]?.focus();
}
