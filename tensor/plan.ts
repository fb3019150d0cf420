/**
 * Where the intermediates of a captured step lie: known lifetimes, placed once.
 *
 * @module
 */

/** Memory that is needed from one command to another, both included. */
export interface Interval {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
}

/** Places for intervals. */
export interface Placement {
  /** Bytes of each arena. */
  readonly arenas: readonly number[];
  /** Per interval, its arena and offset in bytes. */
  readonly places: readonly { arena: number; offset: number }[];
  /** Most bytes alive at once: no placement needs less. */
  readonly liveBytes: number;
}

/**
 * Places intervals so that those that overlap in time do not overlap in memory: the largest first,
 * each at the lowest gap that fits ("greedy by size", Pisarchyk & Lee 2020, arXiv:2001.03288).
 *
 * @param alignment Of offsets, in bytes.
 * @param maxArenaBytes A further arena begins where this one ends.
 */
export function place(
  intervals: readonly Interval[],
  alignment: number,
  maxArenaBytes: number,
): Placement {
  const size = ({ bytes }: Interval) =>
    Math.ceil(bytes / alignment) * alignment;
  const places: { arena: number; offset: number }[] = new Array(
    intervals.length,
  );
  const arenas: number[] = [];
  const placed: number[] = []; // by offset
  const order = intervals.map((_, i) => i).sort((a, b) =>
    size(intervals[b]!) - size(intervals[a]!) || a - b
  );
  for (const i of order) {
    const interval = intervals[i]!, bytes = size(interval);
    const neighbours = placed.filter((j) => {
      const other = intervals[j]!;
      return other.first <= interval.last && interval.first <= other.last;
    });
    for (let arena = 0;; arena++) {
      let offset = 0;
      for (const j of neighbours) {
        if (places[j]!.arena !== arena) continue;
        if (offset + bytes <= places[j]!.offset) break;
        offset = Math.max(offset, places[j]!.offset + size(intervals[j]!));
      }
      if (offset + bytes > maxArenaBytes && offset > 0) continue;
      places[i] = { arena, offset };
      arenas[arena] = Math.max(arenas[arena] ?? 0, offset + bytes);
      const at = placed.findIndex((j) => places[j]!.offset > offset);
      placed.splice(at < 0 ? placed.length : at, 0, i);
      break;
    }
  }
  const changes = new Map<number, number>();
  const change = (at: number, bytes: number) =>
    changes.set(at, (changes.get(at) ?? 0) + bytes);
  for (const interval of intervals) {
    change(interval.first, size(interval));
    change(interval.last + 1, -size(interval));
  }
  let live = 0, liveBytes = 0;
  for (const [, bytes] of [...changes].sort(([a], [b]) => a - b)) {
    liveBytes = Math.max(liveBytes, live += bytes);
  }
  return { arenas, places, liveBytes };
}
