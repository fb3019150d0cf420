/**
 * Kernels for tests of the CPU executor, assembled by hand: what is tested is how they are run, not
 * how they are compiled.
 *
 * @module
 */
import type { CompiledKernel } from "../../wgsl/kernel_abi.ts";
import { type FunctionBuilder, ModuleBuilder } from "../../wgsl/wasm.ts";
import { type Compile, type CpuExecutor, openCpu } from "../../tensor/cpu.ts";
import type {
  Command,
  DeviceBuffer,
  LiveParam,
  Pipeline,
} from "../../tensor/executor.ts";

/** Locals of every kernel: the parameters of `run`, the workgroup, and two addresses. */
const ARGS = 0, FIRST = 1, LAST = 2;

interface Locals {
  group: number;
  /** Of `out[group]`. */
  out: number;
}

/** What one workgroup does; the bindings are `params` (two words), `out` and `x`. */
const BODIES: Record<string, (fn: FunctionBuilder, at: Locals) => void> = {
  empty: () => {},
  /** out[i] = i + params[0] */
  count: (fn, { group, out }) => {
    fn.get(out).get(group);
    param(fn, 0).op("i32.add").store("i32.store");
  },
  /** out[i] = out[i] * 3 + params[0] */
  step: (fn, { out }) => {
    fn.get(out).get(out).load("i32.load").i32(3).op("i32.mul");
    param(fn, 0).op("i32.add").store("i32.store");
  },
  /** out[i] = x[i] */
  copy: (fn, { group, out }) => {
    fn.get(out).get(ARGS).load("i32.load", 24).get(group).i32(2).op("i32.shl")
      .op("i32.add").load("i32.load").store("i32.store");
  },
  /** Traps in workgroup params[0]. */
  trap: (fn, { group }) => {
    fn.get(group);
    param(fn, 0).op("i32.eq");
    fn.if();
    fn.op("unreachable");
    fn.end();
  },
  /** Counts to params[0], and then out[i] = that. */
  work: (fn, { out }) => {
    const i = fn.local("i32");
    fn.i32(0).set(i);
    const again = fn.loop();
    fn.get(i).i32(1).op("i32.add").tee(i);
    param(fn, 0).op("i32.lt_u").brIf(again);
    fn.end();
    fn.get(out).get(i).store("i32.store");
  },
  /** scratch[0] += 1, and out[i] = scratch address. */
  scratch: (fn, { out }) => {
    fn.get(3).get(3).load("i32.load").i32(1).op("i32.add").store("i32.store");
    fn.get(out).get(3).store("i32.store");
  },
};

function param(fn: FunctionBuilder, index: number): FunctionBuilder {
  return fn.get(ARGS).load("i32.load", 12).load("i32.load", 4 * index);
}

/** A compiler whose sources are the names above. */
export const compile: Compile = (source): CompiledKernel => {
  const body = BODIES[source];
  if (!body) throw new SyntaxError(`test:1:1: there is no ${source}`);
  const module = new ModuleBuilder({ shared: true });
  const fn = module.function("run", ["i32", "i32", "i32", "i32"], []);
  const group = fn.local("i32"), out = fn.local("i32");
  fn.get(FIRST).set(group);
  const loop = fn.loop();
  fn.get(ARGS).load("i32.load", 16).get(group).i32(2).op("i32.shl")
    .op("i32.add").set(out);
  body(fn, { group, out });
  fn.get(group).i32(1).op("i32.add").tee(group).get(LAST).op("i32.lt_u")
    .brIf(loop);
  fn.end();
  module.export("run", fn);
  return {
    bytes: module.finish(),
    workgroupSize: [1, 1, 1],
    bindings: [
      { name: "params", binding: 0, kind: "uniform" },
      { name: "out", binding: 1, kind: "read_write" },
      ...(source === "copy"
        ? [{ name: "x", binding: 2, kind: "read" as const }]
        : []),
    ],
    scratchBytes: source === "scratch" ? 48 : 0,
  };
};

/** An executor that ends with its block. */
export function open(
  threads: number,
  maxPages?: number,
): CpuExecutor & Disposable {
  const executor = openCpu(compile, { threads, maxPages });
  return Object.assign(executor, { [Symbol.dispose]: () => executor.close() });
}

/** An entry point of the table above. */
export function pipeline(executor: CpuExecutor, source: string): Pipeline {
  return executor.compile({
    label: `test.${source}`,
    source,
    entryPoint: "main",
    constants: {},
    paramsBytes: 16,
    bindings: [{ binding: 1, writable: true }, { binding: 2, writable: false }],
  });
}

/** A command over `groups` workgroups. */
export function command(
  pipeline: Pipeline,
  buffers: readonly DeviceBuffer[],
  value: number,
  groups: number | readonly [number, number, number] = 1,
  live: readonly LiveParam[] = [],
): Command {
  const params = new Uint8Array(16);
  new Int32Array(params.buffer)[0] = value;
  return {
    pipeline,
    windows: buffers.map((buffer) => ({
      buffer,
      offset: 0,
      bytes: buffer.bytes,
      used: buffer.bytes,
    })),
    params,
    live,
    groups: typeof groups === "number" ? [groups, 1, 1] : groups,
    what: () => `${pipeline.spec.label}()`,
  };
}

/** The words of a buffer. */
export async function wordsOf(
  executor: CpuExecutor,
  buffer: DeviceBuffer,
  count: number = buffer.bytes / 4,
): Promise<number[]> {
  return [...new Int32Array(await executor.read(buffer, 4 * count))];
}

/** A buffer with these words. */
export function bufferOf(
  executor: CpuExecutor,
  words: readonly number[],
): DeviceBuffer {
  const buffer = executor.allocate(4 * words.length, () => "a test");
  executor.write(buffer, Int32Array.from(words));
  return buffer;
}
