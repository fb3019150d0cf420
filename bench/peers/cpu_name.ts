/**
 * Names the device of peers that compute on the CPU, as this library names its own.
 *
 * @module
 */

/** `CPU (2 threads, WebAssembly SIMD)`. */
export function cpuName(threads: number): string {
  return `CPU (${threads} ${
    threads === 1 ? "thread" : "threads"
  }, WebAssembly SIMD)`;
}
