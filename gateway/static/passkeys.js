/* Passkeys: login, reauthentication and registration. The server starts a ceremony, an authenticator signs, the server verifies. */

import { HttpError, request } from './repruv/http.js';

const API = '/api/v1/auth/';
const CEREMONIES = {
  login: { path: 'login/passkey', options: 'login/passkey/options', ask: getCredential, more: rememberField },
  reauthenticate: { path: 'reauthenticate/passkey', options: 'reauthenticate/passkey/options', ask: getCredential },
  add: { path: 'passkeys', options: 'passkeys/options', ask: createCredential, more: nameField },
};
const TROUBLE = {
  NotAllowedError: 'Cancelled or timed out. Nothing was changed.',
  InvalidStateError: 'This device already has a passkey for your account.',
  SecurityError: 'Passkeys don’t work at this address.',
};

/** Shows the passkey forms, or why passkeys do not work here. */
export function offerPasskeys() {
  const obstacle = obstacleHere();
  for (const without of document.querySelectorAll('[data-passkey-without]')) {
    without.hidden = !obstacle;
    without.querySelector('span').textContent = obstacle;
  }
  if (obstacle) return;
  // A page from the back-forward cache accepts another try.
  addEventListener('pageshow', () => document.querySelectorAll('[data-passkey] button').forEach((button) => { button.ariaDisabled = null; }));
  for (const place of document.querySelectorAll('[data-passkey]')) {
    place.hidden = false;
    place.addEventListener(place.matches('form') ? 'submit' : 'click', (event) => {
      if (event.type === 'click' && !event.target.closest('button')) return;
      event.preventDefault();
      event.stopPropagation(); // the form is not submitted
      runCeremony(place, CEREMONIES[place.dataset.passkey]);
    });
  }
}

function obstacleHere() {
  if (/^[\d.]+$|^\[/.test(location.hostname)) return 'Passkeys need a host name, and this address is a number.';
  if (!isSecureContext) return 'Passkeys work over https only.';
  return 'parseCreationOptionsFromJSON' in (globalThis.PublicKeyCredential ?? {}) ? '' : 'This browser doesn’t support passkeys.';
}

async function runCeremony(place, ceremony) {
  const [button, trouble] = [place.querySelector('button'), place.querySelector('[role="alert"]')];
  if (button.ariaDisabled) return; // already running
  button.ariaDisabled = 'true';
  trouble.hidden = true;
  try {
    const { ceremony: secret, options } = await post(ceremony.options);
    const credential = await ceremony.ask(options);
    await post(ceremony.path, { ceremony: secret, credential: credential.toJSON(), ...ceremony.more?.(place) });
    location.assign(place.dataset.next);
  } catch (error) {
    if (error.code === 'reauthentication_required') return location.assign(`/reauthenticate?next=${encodeURIComponent(place.dataset.next)}`);
    trouble.textContent = TROUBLE[error.name] ?? (error instanceof HttpError ? error.message : 'This didn’t work.');
    trouble.hidden = false;
    button.ariaDisabled = null;
  }
}

async function post(path, body = {}) {
  const headers = { 'Content-Type': 'application/json', Accept: 'application/json' };
  return (await request(API + path, { method: 'POST', headers, body: JSON.stringify(body) })).json();
}

function createCredential(options) {
  return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
}

function getCredential(options) {
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

function rememberField() {
  return { remember: document.getElementById('remember').checked };
}

function nameField(form) {
  return { name: form.elements.name.value };
}
