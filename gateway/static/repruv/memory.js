/* The last frames of a stream, for watchers and tabs that missed some. */

import { resource } from './resources.js';

const MAX_FRAMES = 256;
const MAX_SNAPSHOTS = 64;

/** The number of an id: ids are the owner's sequence. */
export const order = (id) => Number(id) || 0;

/** Keeps frames `{ type, data, id }`. `since(id)` returns those after an id, or null when some of them are gone. */
export function memory() {
  let floor = null; // every frame after this id is in the ring
  let ring = [];
  const latest = new Map(); // frames without an id: progress, demo mode

  return {
    restart(id) {
      floor = id;
      ring = [];
      latest.clear();
    },
    note(frame) {
      const key = resource(frame.type, frame.data);
      if (!key) return;
      latest.delete(key);
      if (frame.id) {
        ring.push(frame);
        if (ring.length > MAX_FRAMES) floor = ring.shift().id;
      } else {
        latest.set(key, frame);
        if (latest.size > MAX_SNAPSHOTS) latest.delete(latest.keys().next().value);
      }
    },
    since(id) {
      if (id !== '' && (floor === null || order(id) < order(floor))) return null;
      const missed = id === '' ? [] : ring.filter((frame) => order(frame.id) > order(id));
      return [...missed, ...latest.values()];
    },
  };
}
