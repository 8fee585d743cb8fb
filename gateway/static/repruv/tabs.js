/* The tabs of a browser that share a name: they exchange messages, and one of them is the leader. */

/**
 * Joins the tabs of `name`. `onLead()` is called when this tab becomes the leader, `onFollow()` when another one has taken
 * the lead, `onMessage(message)` with the messages of other tabs. Without Web Locks or BroadcastChannel each tab is a leader.
 */
export function openTabs(name, { onLead, onFollow, onMessage }) {
  let channel = null;
  let attempt = 0; // a request for the lead with another number is out of date
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
    const current = ++attempt;
    const withdrawn = new AbortController();
    release = () => withdrawn.abort();
    const lead = () => current === attempt && new Promise((resolve) => {
      release = resolve;
      onLead();
    });
    try {
      await navigator.locks.request(name, steal ? { steal } : { signal: withdrawn.signal }, lead);
    } catch (error) {
      if (current !== attempt) return;
      if (error.name !== 'AbortError') return onLead(); // no locks in this kind of page
      onFollow(); // stolen
      contend();
    }
  }

  /** Leaves; the browser gives the lead to another tab. */
  function leave() {
    attempt += 1;
    release();
    release = () => {};
    channel?.close();
    channel = null;
  }

  return { join, leave, send: (message) => channel?.postMessage(message), steal: () => channel && contend(true) };
}
