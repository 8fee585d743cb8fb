// A page with real React in it. To be imported before the hooks, which look for React where they are: not here.

import { registerHooks } from 'node:module';

import { Window } from 'happy-dom';

registerHooks({
  resolve: (specifier, context, next) => next(specifier, /^react/.test(specifier) ? { ...context, parentURL: import.meta.url } : context),
});

const window = new Window({ url: 'http://127.0.0.1/' });
export const dom = window.document;
Object.assign(globalThis, { window, document: dom, HTMLIFrameElement: window.HTMLIFrameElement, IS_REACT_ACT_ENVIRONMENT: true });
