/* The tabs of a browser that share a name: all hear each other, and one of them leads. */

/**
 * Joins the tabs of `name`. `onLead()` is called when this tab is to lead, `onFollow()` when another one has taken the lead
 * from it, `onMessage(message)` with what other tabs `send`. A browser that lacks Web Locks or BroadcastChannel, or forbids
 * them here, has tabs that each lead themselves.
 */
export function openTabs(name, { onLead, onFollow, onMessage }) {
  let channel = null;
  let turn = 0; // tells a request for the lead that its time has passed
  let release = () => {};

  function join() {
    try {
      if (!navigator.locks) return onLead();
      channel = new BroadcastChannel(name);
    } catch {
      return onLead();
    }
    channel.onmessage = ({ data }) => onMessage(data);
    contend();
  }

  async function contend(steal = false) {
    release();
    const mine = ++turn;
    const withdrawn = new AbortController();
    release = () => withdrawn.abort();
    const lead = () => mine === turn && new Promise((resolve) => {
      release = resolve;
      onLead();
    });
    try {
      await navigator.locks.request(name, steal ? { steal } : { signal: withdrawn.signal }, lead);
    } catch (error) {
      if (mine !== turn) return;
      if (error.name !== 'AbortError') return onLead(); // no locks in this kind of page
      onFollow(); // stolen
      contend();
    }
  }

  /** Leaves; the browser gives the lead to another tab. */
  function leave() {
    turn += 1;
    release();
    release = () => {};
    channel?.close();
    channel = null;
  }

  return { join, leave, send: (message) => channel?.postMessage(message), steal: () => channel && contend(true) };
}
