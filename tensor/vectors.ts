/**
 * Vectors of float64 on the host with vector instructions: the two loops that take most of the time of
 * factors and singular values, in WebAssembly.
 *
 * @module
 */
import {
  type FunctionBuilder,
  hasRelaxedSimd,
  ModuleBuilder,
} from "../wgsl/wasm.ts";

/** Loops take so many elements at once: they go on to the next multiple, where zeros should follow. */
export const STEP = 4;

/** Numbers, and loops over them; places are indices. */
export interface Vectors {
  /** Zeros at first. */
  readonly numbers: Float64Array;
  /** Σ_k a[k] b[k]. */
  dot(a: number, b: number, count: number): number;
  /** `a -= byW w + byV v`, then `sum += x a`. */
  sweep(
    places: { a: number; w: number; v: number; sum: number },
    factors: { byW: number; byV: number; x: number },
    count: number,
  ): void;
}

type Dot = (a: number, b: number, end: number) => number;
type Sweep = (
  ...args: [
    a: number,
    w: number,
    v: number,
    sum: number,
    end: number,
    byW: number,
    byV: number,
    x: number,
  ]
) => void;

const PAGE_BYTES = 65536, MAX_PAGES = 65536;
let engine: { memory: WebAssembly.Memory; dot: Dot; sweep: Sweep } | undefined;

/** Room for so many numbers, below 4 GB, until the next call: the memory is one, and only grows. */
export function vectors(length: number): Vectors {
  const { memory, dot, sweep } = engine ??= start();
  const missing = 8 * length - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
  return {
    numbers: new Float64Array(memory.buffer, 0, length).fill(0),
    dot: (a, b, count) => count > 0 ? dot(8 * a, 8 * b, 8 * (a + count)) : 0,
    sweep({ a, w, v, sum }, { byW, byV, x }, count) {
      if (count <= 0) return;
      const end = 8 * (a + count);
      sweep(8 * a, 8 * w, 8 * v, 8 * sum, end, byW, byV, x);
    },
  };
}

function start() {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES });
  const { exports } = new WebAssembly.Instance(compile(), { env: { memory } });
  return {
    memory,
    dot: exports.dot as Dot,
    sweep: exports.sweep as Sweep,
  };
}

function compile(): WebAssembly.Module {
  const module = new ModuleBuilder({ shared: false, maximumPages: MAX_PAGES });
  const dot = module.function("dot", ["i32", "i32", "i32"], ["f64"]);
  writeDot(dot);
  module.export("dot", dot);
  const sweep = module.function("sweep", [
    ...Array(5).fill("i32"),
    ...Array(3).fill("f64"),
  ], []);
  writeSweep(sweep);
  module.export("sweep", sweep);
  return new WebAssembly.Module(module.finish());
}

/** `target += a b`, all of them locals. */
function addProduct(
  fn: FunctionBuilder,
  target: number,
  a: number,
  b: number,
): void {
  if (hasRelaxedSimd()) {
    fn.get(a).get(b).get(target).op("f64x2.relaxed_madd").set(target);
  } else {
    fn.get(target).get(a).get(b).op("f64x2.mul").op("f64x2.add").set(target);
  }
}

/** Repeats the body over vectors of two numbers, until the first pointer is at its end. */
function writeLoop(
  fn: FunctionBuilder,
  pointers: readonly number[],
  end: number,
  body: (offset: number) => void,
): void {
  const loop = fn.loop();
  for (let offset = 0; offset < 8 * STEP; offset += 16) body(offset);
  for (const pointer of pointers) {
    fn.get(pointer).i32(8 * STEP).op("i32.add").set(pointer);
  }
  fn.get(pointers[0]!).get(end).op("i32.lt_u").brIf(loop).end();
}

function writeDot(fn: FunctionBuilder): void {
  const [a, b, end] = [0, 1, 2];
  const x = fn.local("v128"), y = fn.local("v128");
  const sums = [fn.local("v128"), fn.local("v128")]; // need not wait for each other
  writeLoop(fn, [a, b], end, (offset) => {
    fn.get(a).load("v128.load", offset).set(x);
    fn.get(b).load("v128.load", offset).set(y);
    addProduct(fn, sums[offset / 16]!, x, y);
  });
  fn.get(sums[0]!).get(sums[1]!).op("f64x2.add").tee(x)
    .lane("f64x2.extract_lane", 0)
    .get(x).lane("f64x2.extract_lane", 1).op("f64.add");
}

function writeSweep(fn: FunctionBuilder): void {
  const [a, w, v, sum, end] = [0, 1, 2, 3, 4];
  const [byW, byV, x] = [5, 6, 7].map((factor) => {
    const both = fn.local("v128");
    fn.get(factor).op("f64x2.splat").set(both);
    return both;
  }) as [number, number, number];
  for (const factor of [byW, byV]) {
    fn.get(factor).op("f64x2.neg").set(factor);
  }
  const value = fn.local("v128"), other = fn.local("v128");
  writeLoop(fn, [a, w, v, sum], end, (offset) => {
    fn.get(a).load("v128.load", offset).set(value);
    fn.get(w).load("v128.load", offset).set(other);
    addProduct(fn, value, other, byW);
    fn.get(v).load("v128.load", offset).set(other);
    addProduct(fn, value, other, byV);
    fn.get(a).get(value).store("v128.store", offset);
    fn.get(sum).load("v128.load", offset).set(other);
    addProduct(fn, other, value, x);
    fn.get(sum).get(other).store("v128.store", offset);
  });
}
