/**
 * Random numbers that a seed repeats.
 *
 * @module
 */

/** A generator (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 random bits. */
  word(): number {
    let x = this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    x = Math.imul(x ^ x >>> 15, x | 1);
    x ^= x + Math.imul(x ^ x >>> 7, x | 61);
    return (x ^ x >>> 14) >>> 0;
  }

  /** A whole number below `count`. */
  below(count: number): number {
    return this.word() % count;
  }

  /** Whether something of this probability happens. */
  chance(probability: number): boolean {
    return this.word() < probability * 2 ** 32;
  }

  /** One of several. */
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}
