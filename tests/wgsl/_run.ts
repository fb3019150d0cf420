/**
 * Runs compiled kernels without an executor: buffers are placed in a memory with guard words around
 * each, and what a kernel writes outside of its buffers is an error.
 *
 * @module
 */
import { compileWgsl } from "../../wgsl/compile.ts";
import {
  argsBytes,
  type CompiledKernel,
  type CompileOptions,
  type RunKernel,
  writeArgs,
} from "../../wgsl/kernel_abi.ts";

/** The words of a buffer; the kind of array is kept in the result. */
export type Words = Uint32Array | Int32Array | Float32Array;

/** What a kernel is given. */
export interface Job {
  /** Storage buffers by the names of their variables; lengths are rounded up to 16 bytes. */
  readonly buffers: Readonly<Record<string, Words>>;
  /** The uniform block. */
  readonly uniform?: Words;
  /** Workgroups along the axes; defaults to one. */
  readonly groups?: readonly [number, number, number];
  /** The part of them that is run; defaults to all. */
  readonly first?: number;
  readonly last?: number;
}

const GUARD = 64; // bytes around each buffer
const CANARY = 0xa5a5a5a5;

/** Reused, as each memory reserves much of the address space. */
let memory: WebAssembly.Memory | null = null;

function memoryOf(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / 65536);
  memory ??= new WebAssembly.Memory({ initial: pages, maximum: 65536 });
  const missing = pages - memory.buffer.byteLength / 65536;
  if (missing > 0) memory.grow(missing);
  return memory;
}

const round = (bytes: number) => 16 * Math.ceil(bytes / 16);

/** Compiles and runs; returns the buffers as they are afterwards. */
export function run<Buffers extends Readonly<Record<string, Words>>>(
  source: string,
  job: Job & { readonly buffers: Buffers },
  options: Partial<CompileOptions> = {},
): { [Name in keyof Buffers]: Buffers[Name] } {
  const kernel = compileWgsl(source, {
    entryPoint: "main",
    ...options,
    shared: false,
  });
  return runKernel(kernel, job);
}

/** Runs a compiled kernel; returns the buffers as they are afterwards. */
export function runKernel<Buffers extends Readonly<Record<string, Words>>>(
  kernel: CompiledKernel,
  job: Job & { readonly buffers: Buffers },
): { [Name in keyof Buffers]: Buffers[Name] } {
  const { buffers, uniform, groups = [1, 1, 1] } = job;
  const storage = kernel.bindings.filter((b) => b.kind !== "uniform");
  let end = GUARD;
  const place = (bytes: number) => {
    const at = end;
    end += round(bytes) + GUARD;
    return at;
  };
  const args = place(argsBytes(storage.length));
  const uniformAt = uniform ? place(uniform.byteLength) : 0;
  const places = storage.map(({ name }) => {
    const words = buffers[name];
    if (!words) throw new Error(`The kernel has a binding ${name}`);
    return { address: place(words.byteLength), bytes: round(words.byteLength) };
  });
  const scratch = place(kernel.scratchBytes);
  const memory = memoryOf(end);
  const words = new Uint32Array(memory.buffer);
  words.fill(CANARY, 0, end / 4);
  const put = (at: number, { buffer, byteOffset, length }: Words) =>
    words.set(new Uint32Array(buffer, byteOffset, length), at / 4);
  if (uniform) put(uniformAt, uniform);
  for (const [i, { name }] of storage.entries()) {
    const { address, bytes } = places[i]!;
    words.fill(0, address / 4, (address + bytes) / 4);
    put(address, buffers[name]!);
  }
  writeArgs(new Int32Array(memory.buffer), args, groups, uniformAt, places);
  const before = words.slice(0, end / 4);
  const { exports } = new WebAssembly.Instance(
    new WebAssembly.Module(kernel.bytes),
    { env: { memory } },
  );
  const { first = 0, last = groups.reduce((a, b) => a * b) } = job;
  (exports.run as RunKernel)(args, first, last, scratch);
  const result: Record<string, Words> = { ...buffers };
  const free = new Uint8Array(end / 4); // words that the kernel may write
  free.fill(1, scratch / 4, (scratch + kernel.scratchBytes) / 4);
  for (const [i, { name, kind }] of storage.entries()) {
    const { address, bytes } = places[i]!;
    if (kind === "read_write") {
      free.fill(1, address / 4, (address + bytes) / 4);
    }
    const copy = buffers[name]!.slice();
    new Uint32Array(copy.buffer).set(
      words.subarray(address / 4, address / 4 + copy.length),
    );
    result[name] = copy;
  }
  for (let i = 0; i < free.length; i++) {
    if (!free[i] && words[i] !== before[i]) {
      throw new Error(`The kernel wrote to byte ${4 * i}, which is no buffer`);
    }
  }
  return result as { [Name in keyof Buffers]: Buffers[Name] };
}
