/**
 * Device memory: buffers of the same size are used again, and every byte is counted.
 *
 * @module
 */
import { context } from "./context.ts";
import { executor } from "./device.ts";
import type { DeviceBuffer } from "./executor.ts";
import type { Trace } from "./trace.ts";

/** Unused bytes kept for the next tensor of the same size; past this the oldest are given back. */
const MAX_POOLED_BYTES = 1 << 30;

/** Free buffers by size. A `Map` keeps insertion order, so the first key is the size unused longest. */
const pool = new Map<number, DeviceBuffer[]>();
let bytesInUse = 0;
let bytesPooled = 0;
let peakBytes = 0;
let buffers = 0;

/** A reference-counted buffer, shared by tensors that are views of each other. */
export class Storage {
  readonly buffer: DeviceBuffer;
  /** The captured step that the memory belongs to, if it is planned and not yet there. */
  readonly #trace: Trace | null;
  #references = 1;

  /** Takes a buffer of at least `bytes`; its content is arbitrary. */
  constructor(bytes: number, what: () => string) {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    this.#trace = context().trace;
    if (this.#trace) {
      this.buffer = this.#trace.allocate(size);
      return;
    }
    const free = pool.get(size);
    if (free) {
      this.buffer = free.pop()!;
      bytesPooled -= size;
      if (free.length === 0) pool.delete(size);
    } else {
      this.buffer = executor().allocate(size, what);
      buffers++;
    }
    bytesInUse += size;
    peakBytes = Math.max(peakBytes, bytesInUse);
  }

  /** True while exactly one tensor uses the buffer. */
  get unshared(): boolean {
    return this.#references === 1;
  }

  /** Counts one more user. */
  retain(): this {
    this.#references++;
    return this;
  }

  /** Counts one user less; the last one hands the buffer to the pool. */
  release(): void {
    if (--this.#references > 0 || this.#trace) return;
    const size = this.buffer.bytes;
    bytesInUse -= size;
    bytesPooled += size;
    const free = pool.get(size);
    if (free) free.push(this.buffer);
    else pool.set(size, [this.buffer]);
    if (bytesPooled > MAX_POOLED_BYTES) trimPool(MAX_POOLED_BYTES / 2);
  }
}

/** Gives unused buffers back to the device until at most `maxBytes` remain pooled. */
export function trimPool(maxBytes = 0): void {
  const surplus: DeviceBuffer[] = [];
  for (const [size, free] of pool) {
    while (bytesPooled > maxBytes && free.length > 0) {
      surplus.push(free.shift()!);
      bytesPooled -= size;
      buffers--;
    }
    if (free.length === 0) pool.delete(size);
    if (bytesPooled <= maxBytes) break;
  }
  if (surplus.length > 0) executor().destroy(surplus);
}

/** Device memory and cached objects, in bytes and counts. */
export interface MemoryInfo {
  /** Bytes held by live tensors. */
  bytesInUse: number;
  /** Bytes kept for reuse. */
  bytesPooled: number;
  /** Highest `bytesInUse` since the start or the last `resetPeak`. */
  peakBytes: number;
  /** Device buffers, in use or pooled. */
  buffers: number;
  /** Compiled kernel entry points. */
  pipelines: number;
  /** Cached argument sets of kernels. */
  bindGroups: number;
}

/**
 * Device memory in use now. `resetPeak` starts a new measurement of `peakBytes`.
 */
export function memory(options: { resetPeak?: boolean } = {}): MemoryInfo {
  const info = {
    bytesInUse,
    bytesPooled,
    peakBytes,
    buffers,
    ...executor().counts,
  };
  if (options.resetPeak) peakBytes = bytesInUse;
  return info;
}
