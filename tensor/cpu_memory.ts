/**
 * Memory of the CPU executor: blocks of one WebAssembly memory, which grows as they ask for more.
 *
 * @module
 */
import { MAX_PAGES } from "../wgsl/kernel_abi.ts";

/** Addresses and sizes are multiples of this: a cache line. */
export const BLOCK_ALIGNMENT = 64;
const PAGE_BYTES = 65536;
/** Memory grows by at least this much, as growing is slow beside taking a block. */
const GROWTH_PAGES = 256;
/** Owners that the error names when memory is out. */
const NAMED_OWNERS = 4;

interface Free {
  at: number;
  bytes: number;
}

/** Blocks of a memory. A block is taken from the smallest free piece that holds it. */
export class Heap {
  /** The memory itself. */
  readonly memory: WebAssembly.Memory;
  readonly #maxBytes: number;
  /** Free pieces by address; no two touch. */
  readonly #free: Free[] = [];
  readonly #used = new Map<number, { bytes: number; what: string }>();
  /** Where the memory ends. */
  #end: number;
  /** Nothing from here on was ever in use, so it is zero. */
  #touched: number = BLOCK_ALIGNMENT;
  #bytesInUse = 0;
  #bytes!: Uint8Array<SharedArrayBuffer>;
  #words!: Int32Array<SharedArrayBuffer>;

  /** @param maxPages Where growing ends, in pages of 64 KiB; defaults to all that can be addressed. */
  constructor(maxPages: number = MAX_PAGES) {
    this.#maxBytes = maxPages * PAGE_BYTES;
    this.memory = new WebAssembly.Memory({
      initial: 1,
      maximum: MAX_PAGES,
      shared: true,
    });
    this.#end = PAGE_BYTES;
    // Address 0 stands for "none".
    this.#free.push({
      at: BLOCK_ALIGNMENT,
      bytes: this.#end - BLOCK_ALIGNMENT,
    });
    this.#view();
  }

  /** The memory as bytes; anew after a block was taken, as it may have grown. */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    return this.#bytes;
  }

  /** The memory as words. */
  get words(): Int32Array<SharedArrayBuffer> {
    return this.#words;
  }

  /** Bytes of all blocks. */
  get bytesInUse(): number {
    return this.#bytesInUse;
  }

  /**
   * Takes a block of zeros.
   *
   * @param what Its owner, for errors.
   * @returns Its address.
   * @throws {RangeError} If memory is out; says who has most of it, and what to do.
   */
  take(bytes: number, what: () => string): number {
    const size = Math.max(1, Math.ceil(bytes / BLOCK_ALIGNMENT)) *
      BLOCK_ALIGNMENT;
    let piece = this.#smallest(size);
    if (piece < 0) {
      this.#grow(size, what);
      piece = this.#smallest(size);
    }
    const free = this.#free[piece]!;
    const { at } = free;
    if (free.bytes === size) this.#free.splice(piece, 1);
    else {
      free.at += size;
      free.bytes -= size;
    }
    if (at < this.#touched) {
      this.#bytes.fill(0, at, Math.min(at + size, this.#touched));
    }
    this.#touched = Math.max(this.#touched, at + size);
    this.#used.set(at, { bytes: size, what: what() });
    this.#bytesInUse += size;
    return at;
  }

  /** Gives a block back, by its address. */
  give(at: number): void {
    const { bytes } = this.#used.get(at)!;
    this.#used.delete(at);
    this.#bytesInUse -= bytes;
    this.#merge(at, bytes);
  }

  #smallest(size: number): number {
    let best = -1;
    for (const [i, { bytes }] of this.#free.entries()) {
      if (bytes >= size && (best < 0 || bytes < this.#free[best]!.bytes)) {
        best = i;
      }
    }
    return best;
  }

  /** Adds a free piece, joined with those it touches. */
  #merge(at: number, bytes: number): void {
    let low = 0, high = this.#free.length;
    while (low < high) {
      const middle = low + high >>> 1;
      if (this.#free[middle]!.at < at) low = middle + 1;
      else high = middle;
    }
    const before = this.#free[low - 1], after = this.#free[low];
    const joinsBefore = before && before.at + before.bytes === at;
    const joinsAfter = after && at + bytes === after.at;
    if (joinsBefore) {
      before.bytes += bytes;
      if (joinsAfter) {
        before.bytes += after.bytes;
        this.#free.splice(low, 1);
      }
    } else if (joinsAfter) {
      after.at = at;
      after.bytes += bytes;
    } else this.#free.splice(low, 0, { at, bytes });
  }

  #grow(size: number, what: () => string): void {
    const last = this.#free.at(-1);
    const spare = last && last.at + last.bytes === this.#end ? last.bytes : 0;
    const missing = Math.ceil((size - spare) / PAGE_BYTES);
    const room = (this.#maxBytes - this.#end) / PAGE_BYTES;
    if (missing > room) throw this.#outOfMemory(size, what());
    const pages = Math.min(room, Math.max(missing, GROWTH_PAGES));
    try {
      this.memory.grow(pages);
    } catch {
      throw this.#outOfMemory(size, what());
    }
    this.#merge(this.#end, pages * PAGE_BYTES);
    this.#end += pages * PAGE_BYTES;
    this.#view();
  }

  #view(): void {
    const buffer = this.memory.buffer as unknown as SharedArrayBuffer;
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
  }

  #outOfMemory(size: number, what: string): RangeError {
    const owners = [...this.#used.values()]
      .sort((a, b) => b.bytes - a.bytes).slice(0, NAMED_OWNERS)
      .map(({ bytes, what }) => `${what} (${bytes})`);
    return new RangeError(
      `Cannot allocate ${what} as it takes ${size} bytes: of the ${this.#maxBytes} that the CPU ` +
        `executor can address ${this.#bytesInUse} are in use, most by ${
          owners.join(", ")
        }; use a smaller batch`,
    );
  }
}
