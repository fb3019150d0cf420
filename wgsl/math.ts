/**
 * The functions of WGSL that WebAssembly has no instruction for, four lanes at a time. Each is added
 * to a module when it is first asked for.
 *
 * @module
 */
import * as bits from "./math_bits.ts";
import * as exponential from "./math_exp.ts";
import { type Lanes, lanes, type Value } from "./math_lanes.ts";
import * as circular from "./math_trig.ts";
import type { FunctionBuilder, ModuleBuilder, WasmType } from "./wasm.ts";

/** Functions of one vector. */
export type UnaryMathName =
  | "exp"
  | "exp2"
  | "log"
  | "log2"
  | "sinh"
  | "cosh"
  | "tanh"
  | "asin"
  | "acos"
  | "atan"
  | CircularName
  | "countOneBits" // i32, as those that follow
  | "countLeadingZeros"
  | "countTrailingZeros"
  | "reverseBits"
  | "toHalf" // f32 to binary16 in the low bits of each lane
  | "fromHalf"; // and back
/** Functions of one vector that may have to reduce large angles. */
export type CircularName = "sin" | "cos" | "tan";
/** Functions of two vectors. `atan2` takes the ordinate first. */
export type BinaryMathName =
  | "pow"
  | "atan2"
  | "divI32"
  | "divU32"
  | "remI32"
  | "remU32"
  | "remF32";
/** Functions of scalars: `(f32, f32) -> i32` and `(i32) -> (f32, f32)`. */
export type PackName = "pack2x16float" | "unpack2x16float";
/** What {@linkcode MathLibrary.get} knows. */
export type MathName = UnaryMathName | BinaryMathName | PackName;

type Formula = (lanes: Lanes) => Value;

const UNARY: Record<Exclude<UnaryMathName, CircularName>, Formula> = {
  exp: exponential.exp,
  exp2: exponential.exp2,
  log: exponential.log,
  log2: exponential.log2,
  sinh: exponential.sinh,
  cosh: exponential.cosh,
  tanh: exponential.tanh,
  asin: circular.asin,
  acos: circular.acos,
  atan: circular.atan,
  countOneBits: bits.countOneBits,
  countLeadingZeros: bits.countLeadingZeros,
  countTrailingZeros: bits.countTrailingZeros,
  reverseBits: bits.reverseBits,
  toHalf: bits.toHalf,
  fromHalf: bits.fromHalf,
};
const CIRCULAR: Record<
  CircularName,
  (lanes: Lanes, large: FunctionBuilder) => Value
> = { sin: circular.sin, cos: circular.cos, tan: circular.tan };
const BINARY: Record<BinaryMathName, Formula> = {
  pow: exponential.pow,
  atan2: circular.atan2,
  divI32: bits.divI32,
  divU32: bits.divU32,
  remI32: bits.remI32,
  remU32: bits.remU32,
  remF32: bits.remF32,
};

/** Mathematical functions of one module. */
export class MathLibrary {
  readonly #module: ModuleBuilder;
  readonly #relaxed: boolean;
  readonly #made = new Map<string, FunctionBuilder>();

  /**
   * The functions of `module`, none of them added yet.
   *
   * @param relaxed Whether polynomials use relaxed multiply-add, which the runtime must have.
   */
  constructor(module: ModuleBuilder, relaxed: boolean) {
    this.#module = module;
    this.#relaxed = relaxed;
  }

  /**
   * The function of that name, v128 to v128, or two v128 to v128, or as {@linkcode PackName} says.
   * Asking again gives the same function. What `relaxed` decides changes results within the bounds
   * that the tests hold both forms to, no more.
   */
  get(name: MathName): FunctionBuilder {
    switch (name) {
      case "pack2x16float":
        return this.#add(name, ["f32", "f32"], ["i32"], (fn) => this.#pack(fn));
      case "unpack2x16float":
        return this.#add(
          name,
          ["i32"],
          ["f32", "f32"],
          (fn) => this.#unpack(fn),
        );
      case "sin":
      case "cos":
      case "tan": {
        const large = this.#add(
          "reduceLarge",
          ["f32"],
          ["f32", "i32"],
          circular.reduceLarge,
        );
        return this.#formula(name, 1, (l) => CIRCULAR[name](l, large));
      }
      default:
        return name in UNARY
          ? this.#formula(name, 1, UNARY[name as keyof typeof UNARY])
          : this.#formula(name, 2, BINARY[name as BinaryMathName]);
    }
  }

  #formula(
    name: MathName,
    arity: 1 | 2,
    write: Formula,
  ): FunctionBuilder {
    const params: WasmType[] = Array(arity).fill("v128");
    return this.#add(
      name,
      params,
      ["v128"],
      (fn) => write(lanes(fn, this.#relaxed))(),
    );
  }

  #add(
    name: string,
    params: WasmType[],
    results: WasmType[],
    write: (fn: FunctionBuilder) => void,
  ): FunctionBuilder {
    let fn = this.#made.get(name);
    if (!fn) {
      fn = this.#module.function(name, params, results);
      this.#made.set(name, fn);
      write(fn);
    }
    return fn;
  }

  #pack(fn: FunctionBuilder): void {
    const halves = fn.local("v128");
    fn.get(0).op("f32x4.splat").get(1).lane("f32x4.replace_lane", 1);
    fn.call(this.get("toHalf")).tee(halves);
    fn.lane("i32x4.extract_lane", 0);
    fn.get(halves).lane("i32x4.extract_lane", 1).i32(16).op("i32.shl");
    fn.op("i32.or");
  }

  #unpack(fn: FunctionBuilder): void {
    const halves = fn.local("v128");
    fn.get(0).op("i32x4.splat");
    fn.get(0).i32(16).op("i32.shr_u").lane("i32x4.replace_lane", 1);
    fn.call(this.get("fromHalf")).tee(halves);
    fn.lane("f32x4.extract_lane", 0);
    fn.get(halves).lane("f32x4.extract_lane", 1);
  }
}
