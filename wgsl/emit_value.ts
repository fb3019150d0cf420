/**
 * Machine code of one invocation's values: a scalar is a WebAssembly number, a vector of two to four
 * lanes one v128 (lanes past its width hold anything), booleans are 0 or 1 and in vectors masks.
 *
 * @module
 */
import type { Address, Expr, Input, Local, Memory, Shape } from "./ir.ts";
import { isConst, keyOf, MATH_FUNCTIONS, offsetOf } from "./ir.ts";
import type { MathLibrary, MathName } from "./math.ts";
import type { FunctionBuilder } from "./wasm.ts";
import type { WasmType } from "./wasm.ts";

/** WebAssembly's type for a register of a shape. */
export function wasmType({ kind, width }: Shape): WasmType {
  return width > 1 ? "v128" : kind === "f32" ? "f32" : "i32";
}

/** Where the function keeps what all invocations share. */
export interface Fixed {
  /** Addresses of the storage bindings, by slot. */
  readonly bases: readonly number[];
  /** Their lengths in bytes. */
  readonly lengths: readonly number[];
  /** Address of the uniform block. */
  readonly uniform: number;
  /** Address of the workgroup's memory, and of the invocation's own. */
  readonly workgroup: number;
  readonly frame: number;
  readonly inputs: Readonly<Record<Input, number>>;
  /** Parameters that were loaded in advance, by `fieldKey`. */
  readonly fields: ReadonlyMap<string, number>;
}

/** Name of a parameter of the uniform block among those loaded in advance; null if it is none. */
export function fieldKey(e: Expr): string | null {
  if (e.op !== "load" || e.address.memory.space !== "uniform") return null;
  const { index, stride, offset } = e.address;
  if (!isConst(index)) return null;
  return `${wasmType(e.shape)} ${e.shape.width} ${
    offset + stride * index.values[0]!
  }`;
}

const COMPARISONS = new Set(["eq", "ne", "lt", "le", "gt", "ge"]);
const FLOAT_OPERATIONS = new Set(["add", "sub", "mul", "div"]);
const INTEGER_OPERATIONS = new Set(["add", "sub", "mul", "and", "or", "xor"]);
const MATH: ReadonlySet<string> = new Set(MATH_FUNCTIONS);

/** Bytes of the lanes of a v128, for a shuffle. */
export function laneBytes(lanes: readonly number[]): number[] {
  return Array.from({ length: 4 }, (_, i) => lanes[i] ?? lanes.at(-1)!)
    .flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte));
}

/** Bits of one lane. */
export function bitsOf(kind: Shape["kind"], value: number): number {
  if (kind === "f32") {
    const word = new DataView(new ArrayBuffer(4));
    word.setFloat32(0, value);
    return word.getInt32(0);
  }
  return value | 0;
}

/** The address of the first of four words that are loaded side by side; null if they are not. */
function adjacent(parts: readonly Expr[]): Address | null {
  if (parts.length !== 4) return null;
  const [first] = parts;
  if (first!.op !== "load" || first!.shape.width > 1) return null;
  const { address } = first!;
  const [base, start] = offsetOf(address.index);
  const follow = parts.every((part, i) => {
    if (part.op !== "load") return false;
    const { memory, stride, offset, index } = part.address;
    if (memory !== address.memory || stride !== address.stride) return false;
    const [rest, at] = offsetOf(index);
    const distance = stride * (at - start) + offset - address.offset;
    return distance === 4 * i &&
      (rest === base ||
        rest !== null && base !== null && keyOf(rest) === keyOf(base));
  });
  return follow ? address : null;
}

/** Writes values into a function, each left on the stack. */
export class ValueEmitter {
  readonly #locals = new Map<Local, number>();

  constructor(
    readonly f: FunctionBuilder,
    readonly math: MathLibrary,
    readonly fixed: Fixed,
    readonly relaxed: boolean,
  ) {}

  /** The WebAssembly local of a register. */
  localOf(local: Local): number {
    let index = this.#locals.get(local);
    if (index === undefined) {
      index = this.f.local(wasmType(local.shape));
      this.#locals.set(local, index);
    }
    return index;
  }

  /** Runs `body` with a local of its own. */
  temp(type: WasmType, body: (local: number) => void): void {
    const local = this.f.local(type);
    body(local);
    this.f.free(local);
  }

  /** The base address of a memory. */
  #base(memory: Memory): number {
    const { fixed } = this;
    return memory.space === "storage"
      ? fixed.bases[memory.slot]!
      : fixed[memory.space];
  }

  /** Leaves an address on the stack; returns the offset to add to it. */
  address({ memory, index, stride, offset }: Address): number {
    const { f } = this;
    f.get(this.#base(memory));
    // Past 32 bits only where a test before it keeps the code from running.
    if (isConst(index)) return (offset + stride * index.values[0]!) >>> 0;
    this.value(index);
    if (stride > 1) {
      const shift = Math.log2(stride);
      if (Number.isInteger(shift)) f.i32(shift).op("i32.shl");
      else f.i32(stride).op("i32.mul");
    }
    f.op("i32.add");
    return offset;
  }

  /** A load; the address comes first. */
  load(shape: Shape, address: Address): void {
    const offset = this.address(address);
    const { f } = this;
    if (shape.width === 1) {
      f.load(shape.kind === "f32" ? "f32.load" : "i32.load", offset);
    } else if (shape.width === 2) f.load("v128.load64_zero", offset, 4);
    else f.load("v128.load", offset, 4);
  }

  /** Writes a value to memory. */
  store(address: Address, value: Expr): void {
    const { f } = this;
    const { kind, width } = value.shape;
    const offset = this.address(address);
    if (width === 1) {
      this.value(value);
      f.store(kind === "f32" ? "f32.store" : "i32.store", offset);
    } else if (width === 4) {
      this.value(value);
      f.store("v128.store", offset, 4);
    } else {
      this.temp("v128", (v) => {
        this.temp("i32", (at) => {
          f.set(at);
          this.value(value);
          f.set(v);
          f.get(at).get(v).storeLane("v128.store64_lane", 0, offset, 4);
          if (width === 3) {
            f.get(at).get(v).storeLane("v128.store32_lane", 2, offset + 8, 4);
          }
        });
      });
    }
  }

  /** Leaves a value on the stack. */
  value(e: Expr): void {
    const { f } = this;
    switch (e.op) {
      case "const":
        return this.#constant(e.shape, e.values);
      case "local":
        f.get(this.localOf(e.local));
        return;
      case "input":
        f.get(this.fixed.inputs[e.input]);
        return;
      case "length":
        f.get(this.fixed.lengths[e.memory.slot]!);
        if (e.offset > 0) f.i32(e.offset).op("i32.sub");
        f.i32(e.stride).op("i32.div_u");
        return;
      case "load": {
        const field = this.fixed.fields.get(fieldKey(e) ?? "");
        if (field !== undefined) f.get(field);
        else this.load(e.shape, e.address);
        return;
      }
      case "limit":
        return this.#limit(e.index, e.count);
      case "unary":
        return this.#unary(e);
      case "binary":
        return this.#binary(e);
      case "fma":
        return this.#fma(e.a, e.b, e.c);
      case "select":
        return this.#select(e);
      case "splat":
        return this.#splat(e.value);
      case "lanes":
        return this.#lanes(e.value, e.lanes);
      case "join":
        return this.#join(e.parts);
      case "convert":
        return this.#convert(e.value, e.shape);
      case "bitcast": {
        this.value(e.value);
        if (e.shape.width > 1) return;
        if (e.shape.kind === "f32") f.op("f32.reinterpret_i32");
        else if (e.value.shape.kind === "f32") f.op("i32.reinterpret_f32");
        return;
      }
      case "covers":
        return this.#covers(e);
    }
  }

  #constant({ kind, width }: Shape, values: readonly number[]): void {
    const { f } = this;
    if (width === 1) {
      if (kind === "f32") f.f32(values[0]!);
      else f.i32(values[0]! | 0);
      return;
    }
    const lane = (i: number) => {
      const value = values[i] ?? values.at(-1)!;
      return kind === "bool" ? -value : bitsOf(kind, value);
    };
    f.v128I32(lane(0), lane(1), lane(2), lane(3));
  }

  #limit(index: Expr, count: Expr): void {
    const { f } = this;
    this.temp("i32", (at) => {
      this.temp("i32", (last) => {
        this.value(index);
        f.set(at);
        this.value(count);
        f.i32(1).op("i32.sub").set(last);
        f.get(at).get(last).get(at).get(last).op("i32.lt_u").op("select");
      });
    });
  }

  #covers(e: Expr & { op: "covers" }): void {
    const { f } = this;
    const [low, high, change] = [
      f.local("i64"),
      f.local("i64"),
      f.local("i64"),
    ];
    const below = () => {
      this.value(e.count);
      f.op("i64.extend_i32_u").op("i64.lt_u");
    };
    const way = ({ by, early }: (typeof e.steps)[number]) => {
      this.value(e.rounds);
      f.op("i64.extend_i32_u");
      if (!early) f.i64(1).op("i64.sub");
      this.value(by);
      f.op("i64.extend_i32_s").op("i64.mul");
    };
    this.value(e.first);
    f.op("i64.extend_i32_u").tee(low);
    if (e.steps.length < 2) {
      // One way only: the ends say it.
      below();
      f.get(low);
      for (const step of e.steps) {
        way(step);
        f.op("i64.add");
      }
      below();
    } else {
      f.set(high);
      for (const step of e.steps) {
        way(step);
        f.set(change);
        f.get(low).get(change).i64(0).get(change).i64(0).op("i64.lt_s");
        f.op("select").op("i64.add").set(low);
        f.get(high).get(change).i64(0).get(change).i64(0).op("i64.gt_s");
        f.op("select").op("i64.add").set(high);
      }
      f.get(low).i64(0).op("i64.ge_s").get(high);
      below();
    }
    f.op("i32.and");
    for (const local of [low, high, change]) f.free(local);
  }

  #unary(e: Expr & { op: "unary" }): void {
    const { f } = this;
    const { kind, width } = e.value.shape;
    const { name, value } = e;
    const vector = width > 1;
    const float = kind === "f32";
    if (MATH.has(name)) {
      this.value(value);
      if (!vector) f.op("f32x4.splat");
      f.call(this.math.get(name as MathName));
      if (!vector) f.lane("f32x4.extract_lane", 0);
      return;
    }
    switch (name) {
      case "neg":
        if (float) {
          this.value(value);
          f.op(vector ? "f32x4.neg" : "f32.neg");
        } else if (vector) {
          this.value(value);
          f.op("i32x4.neg");
        } else {
          f.i32(0);
          this.value(value);
          f.op("i32.sub");
        }
        return;
      case "not":
        this.value(value);
        if (vector) f.op("v128.not");
        else if (kind === "bool") f.op("i32.eqz");
        else f.i32(-1).op("i32.xor");
        return;
      case "abs":
        this.value(value);
        if (float || vector) {
          f.op(`${float ? "f32" : "i32"}${vector ? "x4" : ""}.abs`);
          return;
        }
        this.temp("i32", (v) => {
          f.tee(v).i32(31).op("i32.shr_s").get(v).op("i32.xor");
          f.get(v).i32(31).op("i32.shr_s").op("i32.sub");
        });
        return;
      case "ceil":
      case "floor":
      case "trunc":
      case "round":
      case "sqrt":
        this.value(value);
        f.op(
          `${vector ? "f32x4" : "f32"}.${name === "round" ? "nearest" : name}`,
        );
        return;
      case "countOneBits":
      case "countLeadingZeros":
      case "countTrailingZeros": {
        const op = {
          countOneBits: "i32.popcnt",
          countLeadingZeros: "i32.clz",
          countTrailingZeros: "i32.ctz",
        }[name];
        if (!vector) {
          this.value(value);
          f.op(op);
        } else {
          this.value(value);
          f.call(this.math.get(name));
        }
        return;
      }
      case "reverseBits":
        this.value(value);
        if (!vector) f.op("i32x4.splat");
        f.call(this.math.get("reverseBits"));
        if (!vector) f.lane("i32x4.extract_lane", 0);
        return;
      case "pack2x16float":
        this.temp("v128", (v) => {
          this.value(value);
          f.tee(v).lane("f32x4.extract_lane", 0);
          f.get(v).lane("f32x4.extract_lane", 1);
          f.call(this.math.get("pack2x16float"));
        });
        return;
      case "unpack2x16float":
        this.value(value);
        f.call(this.math.get("unpack2x16float"));
        this.temp("f32", (second) => {
          f.set(second).op("f32x4.splat");
          f.get(second).lane("f32x4.replace_lane", 1);
        });
        return;
      case "all":
      case "any":
        this.value(value);
        if (width < 4) {
          const past = [0, 1, 2, 3].map((i) => i < width ? 0 : -1);
          f.v128I32(past[0]!, past[1]!, past[2]!, past[3]!);
          f.op(name === "all" ? "v128.or" : "v128.andnot");
        }
        f.op(name === "all" ? "i32x4.all_true" : "v128.any_true");
    }
  }

  /** An integer operation lane by lane; `body` is given what pushes the lane. */
  perLane(
    value: Expr,
    body: (push: () => void, lane: number) => void,
  ): void {
    const { f } = this;
    this.temp("v128", (v) => {
      this.value(value);
      f.set(v).get(v);
      for (let lane = 0; lane < value.shape.width; lane++) {
        body(() => f.get(v).lane("i32x4.extract_lane", lane), lane);
        f.lane("i32x4.replace_lane", lane);
      }
    });
  }

  #binary(e: Expr & { op: "binary" }): void {
    const { f } = this;
    const { name, left, right } = e;
    const { kind, width } = left.shape;
    const vector = width > 1, float = kind === "f32";
    const both = () => {
      this.value(left);
      this.value(right);
    };
    const sign = kind === "u32" ? "_u" : "_s";
    if (COMPARISONS.has(name)) {
      both();
      const lanes = float ? "f32" : "i32";
      const suffix = float || name === "eq" || name === "ne" ? "" : sign;
      f.op(`${lanes}${vector ? "x4" : ""}.${name}${suffix}`);
      return;
    }
    if (float) return this.#float(e, vector);
    if (INTEGER_OPERATIONS.has(name)) {
      both();
      const bitwise = name === "and" || name === "or" || name === "xor";
      f.op(
        vector ? (bitwise ? `v128.${name}` : `i32x4.${name}`) : `i32.${name}`,
      );
      return;
    }
    switch (name) {
      case "shl":
      case "shr": {
        const op = name === "shl" ? "shl" : `shr${sign}`;
        if (!vector) {
          both();
          f.op(`i32.${op}`);
        } else if (
          right.op === "splat" ||
          isConst(right, right.op === "const" ? right.values[0] : 0)
        ) {
          this.value(left);
          if (right.op === "splat") this.value(right.value);
          else if (right.op === "const") f.i32(right.values[0]!);
          f.op(`i32x4.${op}`);
        } else {
          this.temp("v128", (by) => {
            this.value(right);
            f.set(by);
            this.perLane(left, (push, lane) => {
              push();
              f.get(by).lane("i32x4.extract_lane", lane).op(`i32.${op}`);
            });
          });
        }
        return;
      }
      case "min":
      case "max":
        if (vector) {
          both();
          f.op(`i32x4.${name}${sign}`);
          return;
        }
        this.temp("i32", (a) =>
          this.temp("i32", (b) => {
            both();
            f.set(b).set(a).get(a).get(b).get(a).get(b);
            f.op(`i32.${name === "min" ? "lt" : "gt"}${sign}`).op("select");
          }));
        return;
      case "div":
      case "rem": {
        const op = `${name}${kind === "u32" ? "U32" : "I32"}` as MathName;
        if (vector) {
          both();
          f.call(this.math.get(op));
        } else this.#divide(name, kind === "u32", left, right);
        return;
      }
      default:
        throw new TypeError(`${name} of ${kind}`);
    }
  }

  /** Division of integers with the results that WGSL defines where there is none. */
  #divide(
    name: "div" | "rem",
    unsigned: boolean,
    left: Expr,
    right: Expr,
  ): void {
    const { f } = this;
    const op = `i32.${name}${unsigned ? "_u" : "_s"}`;
    this.value(left);
    if (isConst(right) && right.values[0] !== 0 && right.values[0] !== -1) {
      this.value(right);
      f.op(op);
      return;
    }
    this.temp("i32", (a) =>
      this.temp("i32", (b) => {
        f.set(a);
        this.value(right);
        f.set(b);
        // By 1 instead: gives x / 0 = x, x % 0 = 0, and the same for the quotient past the range.
        f.get(a).i32(1).get(b).get(b).op("i32.eqz");
        if (!unsigned) {
          f.get(a).i32(-(2 ** 31)).op("i32.eq");
          f.get(b).i32(-1).op("i32.eq").op("i32.and").op("i32.or");
        }
        f.op("select").op(op);
      }));
  }

  #float(e: Expr & { op: "binary" }, vector: boolean): void {
    const { f } = this;
    const { name, left, right } = e;
    if (FLOAT_OPERATIONS.has(name)) {
      this.value(left);
      this.value(right);
      f.op(`${vector ? "f32x4" : "f32"}.${name}`);
      return;
    }
    switch (name) {
      case "min":
      case "max":
        this.value(left);
        this.value(right);
        if (vector) {
          f.op(`f32x4.p${name}`);
          return;
        }
        // min is b < a ? b : a, as pmin.
        this.temp("f32", (a) =>
          this.temp("f32", (b) => {
            f.set(b).set(a).get(b).get(a);
            if (name === "min") f.get(b).get(a).op("f32.lt");
            else f.get(a).get(b).op("f32.lt");
            f.op("select");
          }));
        return;
      case "rem":
      case "pow":
      case "atan2": {
        this.value(left);
        if (!vector) f.op("f32x4.splat");
        this.value(right);
        if (!vector) f.op("f32x4.splat");
        f.call(this.math.get(name === "rem" ? "remF32" : name));
        if (!vector) f.lane("f32x4.extract_lane", 0);
        return;
      }
      default:
        throw new TypeError(`${name} of f32`);
    }
  }

  #fma(a: Expr, b: Expr, c: Expr): void {
    const { f } = this;
    this.value(a);
    this.value(b);
    if (a.shape.width > 1) {
      if (this.relaxed) {
        this.value(c);
        f.op("f32x4.relaxed_madd");
      } else {
        f.op("f32x4.mul");
        this.value(c);
        f.op("f32x4.add");
      }
    } else {
      f.op("f32.mul");
      this.value(c);
      f.op("f32.add");
    }
  }

  #select(e: Expr & { op: "select" }): void {
    const { f } = this;
    this.value(e.yes);
    this.value(e.no);
    this.value(e.condition);
    f.op(e.condition.shape.width > 1 ? "v128.bitselect" : "select");
  }

  #splat(value: Expr): void {
    const { f } = this;
    const { kind } = value.shape;
    if (
      value.op === "load" && !this.fixed.fields.has(fieldKey(value) ?? "")
    ) {
      f.load("v128.load32_splat", this.address(value.address), 4);
      return;
    }
    if (kind === "bool") {
      f.i32(0);
      this.value(value);
      f.op("i32.sub").op("i32x4.splat");
      return;
    }
    this.value(value);
    f.op(kind === "f32" ? "f32x4.splat" : "i32x4.splat");
  }

  #lanes(value: Expr, lanes: readonly number[]): void {
    const { f } = this;
    const { kind } = value.shape;
    if (lanes.length === 1) {
      this.value(value);
      f.lane(
        kind === "f32" ? "f32x4.extract_lane" : "i32x4.extract_lane",
        lanes[0]!,
      );
      if (kind === "bool") f.i32(1).op("i32.and");
      return;
    }
    this.temp("v128", (v) => {
      this.value(value);
      f.tee(v).get(v).shuffle(laneBytes(lanes));
    });
  }

  #join(parts: readonly Expr[]): void {
    const { f } = this;
    const run = adjacent(parts);
    if (run) return this.load({ kind: parts[0]!.shape.kind, width: 4 }, run);
    const [first, ...rest] = parts;
    this.#splat(first!);
    const replace = first!.shape.kind === "f32"
      ? "f32x4.replace_lane"
      : "i32x4.replace_lane";
    for (const [i, part] of rest.entries()) {
      if (part === first) continue;
      if (
        part.op === "load" && !this.fixed.fields.has(fieldKey(part) ?? "")
      ) {
        this.temp("v128", (v) => {
          f.set(v);
          const offset = this.address(part.address);
          f.get(v).loadLane("v128.load32_lane", i + 1, offset, 4);
        });
        continue;
      }
      if (part.shape.kind === "bool") f.i32(0);
      this.value(part);
      if (part.shape.kind === "bool") f.op("i32.sub");
      f.lane(replace, i + 1);
    }
  }

  #convert(value: Expr, to: Shape): void {
    const { f } = this;
    const from = value.shape.kind;
    const vector = to.width > 1;
    this.value(value);
    const unsigned = (kind: Shape["kind"]) => kind === "u32" ? "_u" : "_s";
    if (to.kind === "bool") {
      if (from === "f32") {
        if (vector) f.v128I32(0, 0, 0, 0).op("f32x4.ne");
        else f.f32(0).op("f32.ne");
      } else if (vector) f.v128I32(0, 0, 0, 0).op("i32x4.ne");
      else f.i32(0).op("i32.ne");
    } else if (from === "bool") {
      if (vector) {
        const one = bitsOf(to.kind, 1);
        f.v128I32(one, one, one, one).op("v128.and");
      } else if (to.kind === "f32") f.op("f32.convert_i32_s");
    } else if (to.kind === "f32") {
      f.op(
        vector
          ? `f32x4.convert_i32x4${unsigned(from)}`
          : `f32.convert_i32${unsigned(from)}`,
      );
    } else {
      f.op(
        vector
          ? `i32x4.trunc_sat_f32x4${unsigned(to.kind)}`
          : `i32.trunc_sat_f32${unsigned(to.kind)}`,
      );
    }
  }
}
