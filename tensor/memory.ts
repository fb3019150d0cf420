/**
 * Device memory: buffers of the same size are used again, and every byte is counted.
 *
 * @module
 */
import { context } from "./context.ts";
import { executor } from "./device.ts";
import type { DeviceBuffer } from "./executor.ts";

/** Unused bytes kept for the next tensor of the same size; past this the oldest are given back. */
const MAX_POOLED_BYTES = 1 << 30;

/** Free buffers by size. A `Map` keeps insertion order, so the first key is the size unused longest. */
const pool = new Map<number, DeviceBuffer[]>();
let bytesInUse = 0;
let bytesPooled = 0;
let peakBytes = 0;
let buffers = 0;

/** A reference-counted piece of a buffer, shared by tensors that are views of each other. */
export class Storage {
  /** The buffer that holds the piece. */
  readonly buffer: DeviceBuffer;
  /** Where the piece begins in the buffer, in bytes. */
  readonly offset: number;
  /** Length in bytes, a multiple of 16. */
  readonly bytes: number;
  #references = 1;
  /** Gives the memory back. */
  readonly #free: () => void;

  private constructor(
    buffer: DeviceBuffer,
    offset: number,
    bytes: number,
    free: () => void,
  ) {
    this.buffer = buffer;
    this.offset = offset;
    this.bytes = bytes;
    this.#free = free;
  }

  /**
   * Takes at least `bytes`; the content is arbitrary. Inside a captured step the memory is only
   * planned.
   */
  static allocate(bytes: number, what: () => string): Storage {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const { trace } = context();
    if (trace) return Storage.planned(trace.allocate(size));
    const free = pool.get(size);
    let buffer: DeviceBuffer;
    if (free) {
      buffer = free.pop()!;
      bytesPooled -= size;
      if (free.length === 0) pool.delete(size);
    } else {
      buffer = reserve(size, what);
      buffers++;
    }
    bytesInUse += size;
    peakBytes = Math.max(peakBytes, bytesInUse);
    return new Storage(buffer, 0, size, () => giveBack(buffer));
  }

  /** Memory of a captured step, which has no need to be freed. */
  static planned(buffer: DeviceBuffer): Storage {
    return new Storage(buffer, 0, buffer.bytes, () => {});
  }

  /** A piece of this storage, which it keeps alive. */
  window(offset: number, bytes: number): Storage {
    this.retain();
    return new Storage(
      this.buffer,
      this.offset + offset,
      bytes,
      () => this.release(),
    );
  }

  /** True while exactly one tensor uses the memory. */
  get unshared(): boolean {
    return this.#references === 1;
  }

  /** Counts one more user. */
  retain(): this {
    this.#references++;
    return this;
  }

  /** Counts one user less; the last one gives the memory back. */
  release(): void {
    if (--this.#references === 0) this.#free();
  }
}

/** Takes memory from the device; where that is short, what is kept for reuse goes first. */
function reserve(size: number, what: () => string): DeviceBuffer {
  try {
    return executor().allocate(size, what);
  } catch (error) {
    if (bytesPooled === 0 || size > executor().info.maxBufferBytes) throw error;
    trimPool();
    return executor().allocate(size, what);
  }
}

let forget: (buffer: DeviceBuffer) => void = () => {};

/** Has a callback told of every buffer that goes back to the pool. */
export function whenGivenBack(callback: (buffer: DeviceBuffer) => void): void {
  forget = callback;
}

function giveBack(buffer: DeviceBuffer): void {
  forget(buffer);
  const size = buffer.bytes;
  bytesInUse -= size;
  bytesPooled += size;
  const free = pool.get(size);
  if (free) free.push(buffer);
  else pool.set(size, [buffer]);
  if (bytesPooled > MAX_POOLED_BYTES) trimPool(MAX_POOLED_BYTES / 2);
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
