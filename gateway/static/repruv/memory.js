/* The last frames of a stream, from which somebody who comes late can go on. */

import { resource } from './resources.js';

const RING = 256;
const LATEST = 64;

/** Ids are the owner's sequence: numbers that grow. */
export const order = (id) => Number(id) || 0;

/** Remembers frames `{ type, data, id }`. `since(id)` gives those after an id, or null when some are not known any more. */
export function memory() {
  let floor = null; // every frame after this id is in the ring
  let ring = [];
  const latest = new Map(); // what has no id: progress, demo mode

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
        if (ring.length > RING) floor = ring.shift().id;
      } else {
        latest.set(key, frame);
        if (latest.size > LATEST) latest.delete(latest.keys().next().value);
      }
    },
    since(id) {
      if (id !== '' && (floor === null || order(id) < order(floor))) return null;
      const missed = id === '' ? [] : ring.filter((frame) => order(frame.id) > order(id));
      return [...missed, ...latest.values()];
    },
  };
}
