/* Tooltips of charts: the words of a day ([aria-label] of its link) beside it, for the mouse, the keyboard and the finger. */

let shown = null;

const dayOf = ({ target }) => target.closest?.('.chart__day');

function show(day) {
  if (day === shown && (!day || day.isConnected)) return;
  hide();
  if (!day) return;
  const area = day.closest('.chart__area');
  const tip = area.querySelector('.chart__tip');
  tip.textContent = day.getAttribute('aria-label');
  tip.hidden = false;
  const middle = day.getBoundingClientRect().left + day.getBoundingClientRect().width / 2 - area.getBoundingClientRect().left;
  tip.style.left = `${Math.max(0, Math.min(area.clientWidth - tip.offsetWidth, middle - tip.offsetWidth / 2))}px`;
  day.classList.add('chart__day--shown');
  shown = day;
}

function hide() {
  shown?.classList.remove('chart__day--shown');
  const tip = shown?.closest('.chart__area')?.querySelector('.chart__tip');
  if (tip) tip.hidden = true;
  shown = null;
}

document.addEventListener('pointerover', (event) => event.pointerType !== 'touch' && show(dayOf(event) ?? focusedDay()));
document.addEventListener('focusin', (event) => show(dayOf(event)));
document.addEventListener('focusout', () => show(null));

const focusedDay = () => (document.activeElement.matches('.chart__day:focus-visible') ? document.activeElement : null);

// The first tap shows the words, the second follows the link.
let touched = null;
document.addEventListener('pointerdown', (event) => (touched = event.pointerType === 'touch' ? shown : undefined));
document.addEventListener('click', (event) => {
  const day = dayOf(event);
  if (touched === undefined || !event.detail) return;
  if (day && day !== touched) event.preventDefault();
  show(day);
});

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

document.addEventListener('keydown', (event) => {
  const day = dayOf(event);
  if (!day) return;
  if (event.key === 'Escape') return hide();
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const days = [...day.closest('svg').querySelectorAll('.chart__day')];
  const next = days[Math.max(0, Math.min(days.length - 1, days.indexOf(day) + step))];
  for (const each of days) each.setAttribute('tabindex', each === next ? 0 : -1);
  next.focus();
});
