/**
 * What a compiled kernel is and how it is called: the contract between the compiler and whatever
 * runs its modules.
 *
 * A module imports a memory as `"env"."memory"` and exports `run(args, first, last, scratch)`, which
 * runs workgroups `first <= i < last` of the grid, counted along x, then y, then z. Workgroups may
 * run in any order and on several threads at once; each thread has `scratchBytes` of its own.
 *
 * `args` is the address of a block of 32-bit words, all addresses being multiples of 16:
 *
 * ```
 * 0 1 2    workgroups along x, y and z
 * 3        address of the uniform block, 0 if the kernel has none
 * 4 5      address and length in bytes of the first storage binding
 * 6 7 …    those of the next ones, in the order of `bindings`
 * ```
 *
 * As WebGPU demands it, a binding is no smaller than its type with one element of an array without
 * length.
 *
 * @module
 */

/** A kernel as a WebAssembly module. */
export interface CompiledKernel {
  /** The binary module. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Invocations of one workgroup along x, y and z. */
  readonly workgroupSize: readonly [number, number, number];
  /** The bindings that the entry point reaches, ascending. */
  readonly bindings: readonly {
    readonly name: string;
    readonly binding: number;
    readonly kind: "uniform" | "read" | "read_write";
  }[];
  /** Memory that one thread needs to itself, a multiple of 16. */
  readonly scratchBytes: number;
}

/** What of a source is compiled, and for which machine. */
export interface CompileOptions {
  /** Name of the `@compute` function. */
  readonly entryPoint: string;
  /** Values of `override` constants. */
  readonly constants?: Readonly<Record<string, number>>;
  /** Name of the source in messages. */
  readonly label?: string;
  /** Whether to use relaxed SIMD, fused multiply-add among it; defaults to whether there is any. */
  readonly relaxed?: boolean;
  /**
   * Whether four invocations run at a time where they can; defaults to whether most of the kernel's
   * arithmetic is on single numbers.
   */
  readonly lanes?: boolean;
  /** Whether the memory is shared between threads; defaults to true. */
  readonly shared?: boolean;
}

/** The function that a module exports. */
export type RunKernel = (
  args: number,
  first: number,
  last: number,
  scratch: number,
) => void;

/** Pages of 64 KiB that a memory may grow to: all that 32 bits can address. */
export const MAX_PAGES = 65536;

/** Bytes of an argument block for so many storage bindings, a multiple of 16. */
export function argsBytes(storageBindings: number): number {
  return 16 + Math.ceil(storageBindings / 2) * 16;
}

/**
 * Writes an argument block.
 *
 * @param words The memory.
 * @param at Address of the block.
 * @param groups Workgroups along the three axes.
 * @param uniform Address of the uniform block, 0 if there is none.
 * @param storage Address and bytes of each storage binding.
 */
export function writeArgs(
  words: Int32Array,
  at: number,
  groups: readonly [number, number, number],
  uniform: number,
  storage: readonly { readonly address: number; readonly bytes: number }[],
): void {
  let i = at >>> 2;
  words[i++] = groups[0];
  words[i++] = groups[1];
  words[i++] = groups[2];
  words[i++] = uniform;
  for (const { address, bytes } of storage) {
    words[i++] = address;
    words[i++] = bytes;
  }
}
