/**
 * What a kernel becomes between the typed tree and WebAssembly: one body without calls, whose
 * variables are registers of one to four lanes, and whose memory accesses have explicit addresses.
 * The constructors fold constants, with the arithmetic that the machine would do.
 *
 * @module
 */
import type { ScalarName, Variable } from "./tree.ts";

/** Kind and number of the lanes of a value. */
export interface Shape {
  readonly kind: ScalarName;
  readonly width: number;
}

/** A register. */
export interface Local {
  readonly id: number;
  readonly name: string;
  readonly shape: Shape;
}

/** Something with addresses; `storage` and `uniform` ones belong to a variable of the kernel. */
export interface Memory {
  readonly space: "storage" | "uniform" | "workgroup" | "frame";
  /** Position among the kernel's storage bindings; 0 for the others. */
  readonly slot: number;
  readonly variable: Variable | null;
  /** Whether nothing writes to it while the kernel runs. */
  readonly constant: boolean;
}

/** What the machine tells an invocation: axes of its place in the workgroup, and of the group's. */
export type Input = `${"local" | "group" | "groups"}_${"x" | "y" | "z"}`;

/** Where a value lies: `index * stride + offset` bytes from the start of `memory`. */
export interface Address {
  readonly memory: Memory;
  readonly index: Expr;
  readonly stride: number;
  readonly offset: number;
}

/** Functions of one float that no instruction computes. */
export const MATH_FUNCTIONS = [
  "exp",
  "exp2",
  "log",
  "log2",
  "sin",
  "cos",
  "tan",
  "sinh",
  "cosh",
  "tanh",
  "asin",
  "acos",
  "atan",
] as const;

/** Functions of one value, lane by lane (`all` and `any` over the lanes). */
export type UnaryName =
  | "neg"
  | "not"
  | "abs"
  | "ceil"
  | "floor"
  | "trunc"
  | "round"
  | "sqrt"
  | (typeof MATH_FUNCTIONS)[number]
  | "countOneBits"
  | "countLeadingZeros"
  | "countTrailingZeros"
  | "reverseBits"
  | "pack2x16float"
  | "unpack2x16float"
  | "all"
  | "any";

/** Functions of two values, lane by lane; comparisons give booleans. */
export type BinaryName =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "rem"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr"
  | "eq"
  | "ne"
  | "lt"
  | "le"
  | "gt"
  | "ge"
  | "min"
  | "max"
  | "pow"
  | "atan2";

/** A value without effects. */
export type Expr =
  & (
    | { readonly op: "const"; readonly values: readonly number[] }
    | { readonly op: "local"; readonly local: Local }
    | { readonly op: "input"; readonly input: Input }
    | { readonly op: "load"; readonly address: Address }
    /** Elements of `stride` bytes that a storage binding holds, from `offset` on. */
    | {
      readonly op: "length";
      readonly memory: Memory;
      readonly offset: number;
      readonly stride: number;
    }
    /** An index brought into range: `min(index, count - 1)`. */
    | { readonly op: "limit"; readonly index: Expr; readonly count: Expr }
    | { readonly op: "unary"; readonly name: UnaryName; readonly value: Expr }
    | {
      readonly op: "binary";
      readonly name: BinaryName;
      readonly left: Expr;
      readonly right: Expr;
    }
    | {
      readonly op: "fma";
      readonly a: Expr;
      readonly b: Expr;
      readonly c: Expr;
    }
    /** `condition` has one lane or as many as the values. */
    | {
      readonly op: "select";
      readonly condition: Expr;
      readonly yes: Expr;
      readonly no: Expr;
    }
    /** One scalar in all lanes. */
    | { readonly op: "splat"; readonly value: Expr }
    /** Chosen lanes of a vector. */
    | {
      readonly op: "lanes";
      readonly value: Expr;
      readonly lanes: readonly number[];
    }
    /** A vector from scalars. */
    | { readonly op: "join"; readonly parts: readonly Expr[] }
    | { readonly op: "convert"; readonly value: Expr }
    | { readonly op: "bitcast"; readonly value: Expr }
    /**
     * Whether an index stays below `count` in all of `rounds` rounds: it is `first` in the first,
     * and each of the steps (i32) may be added once a round, before it is used (`early`) or after.
     * There are from 1 to 2^28 rounds.
     */
    | {
      readonly op: "covers";
      readonly first: Expr;
      readonly steps: readonly { readonly by: Expr; readonly early: boolean }[];
      readonly rounds: Expr;
      readonly count: Expr;
    }
  )
  & { readonly shape: Shape };

/** Changes of an integer in memory that no other invocation can split. */
export type AtomicName =
  | "load"
  | "store"
  | "add"
  | "sub"
  | "and"
  | "or"
  | "xor"
  | "exchange"
  | "min"
  | "max"
  | "compareExchange";

/** An instruction. Labels are unique in a kernel; `exit` leaves the statement that has the label. */
export type Stmt =
  | { readonly op: "set"; readonly local: Local; readonly value: Expr }
  | { readonly op: "store"; readonly address: Address; readonly value: Expr }
  | {
    readonly op: "if";
    readonly condition: Expr;
    readonly then: readonly Stmt[];
    readonly else: readonly Stmt[];
  }
  /**
   * While `condition` holds (always, without one): `body`, then `update`. `exit label` ends the
   * loop, `exit next` ends the body.
   */
  | {
    readonly op: "loop";
    readonly label: number;
    readonly next: number;
    readonly condition: Expr | null;
    readonly body: readonly Stmt[];
    readonly update: readonly Stmt[];
  }
  | {
    readonly op: "block";
    readonly label: number;
    readonly body: readonly Stmt[];
  }
  | { readonly op: "exit"; readonly label: number }
  | { readonly op: "barrier" }
  | {
    readonly op: "atomic";
    readonly name: AtomicName;
    readonly address: Address;
    /** What was there before. */
    readonly result: Local | null;
    readonly value: Expr | null;
    /** Of a compareExchange. */
    readonly expected: Expr | null;
  };

/** A kernel, lowered. */
export interface Lowered {
  readonly body: readonly Stmt[];
  readonly workgroupSize: readonly [number, number, number];
  /** Storage variables by slot. */
  readonly storage: readonly Variable[];
  readonly uniform: Variable | null;
  /** Bytes of memory of one invocation, for arrays that are indexed at run time. */
  readonly frameBytes: number;
  readonly workgroupBytes: number;
}

/** The shape of an index. */
export const U32: Shape = { kind: "u32", width: 1 };
/** The shape of a condition. */
export const BOOL: Shape = { kind: "bool", width: 1 };

/** One value in every lane. */
export function constant(shape: Shape, ...values: number[]): Expr {
  const all = values.length === 1 && shape.width > 1
    ? Array(shape.width).fill(values[0])
    : values;
  return { op: "const", shape, values: all };
}

/** An index that is known. */
export function u32(value: number): Expr {
  return { op: "const", shape: U32, values: [value >>> 0] };
}

/** A register's value. */
export function read(local: Local): Expr {
  return { op: "local", shape: local.shape, local };
}

/** Whether every lane is a known number (and that number, if one is given). */
export function isConst(
  e: Expr,
  value?: number,
): e is Expr & { op: "const" } {
  return e.op === "const" &&
    (value === undefined || e.values.every((v) => v === value));
}

function fit(kind: ScalarName, value: number | boolean): number {
  const number = Number(value);
  return kind === "f32"
    ? Math.fround(number)
    : kind === "i32"
    ? number | 0
    : kind === "u32"
    ? number >>> 0
    : Number(number !== 0);
}

const COMPARISONS: Partial<
  Record<BinaryName, (a: number, b: number) => boolean>
> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};

/** One lane of a folded operation, or null where folding is not worth its care. */
function folded(
  name: BinaryName,
  kind: ScalarName,
  a: number,
  b: number,
): number | null {
  const float = kind === "f32";
  switch (name) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return float ? a * b : Math.imul(a, b);
    case "div":
      if (float) return a / b;
      if (b === 0 || (kind === "i32" && b === -1)) return b === 0 ? a : -a;
      return Math.trunc(a / b);
    case "rem":
      if (float) return null;
      return b === 0 || b === -1 ? 0 : a % b;
    case "and":
      return a & b;
    case "or":
      return a | b;
    case "xor":
      return a ^ b;
    case "shl":
      return a << b;
    case "shr":
      return kind === "u32" ? a >>> b : a >> b;
    case "min":
      return b < a ? b : a;
    case "max":
      return a < b ? b : a;
    default:
      return null;
  }
}

/** `left name right`, folded, and without what changes nothing. */
export function binary(name: BinaryName, left: Expr, right: Expr): Expr {
  const { kind } = left.shape;
  const compare = COMPARISONS[name];
  const shape = compare
    ? { kind: "bool" as const, width: left.shape.width }
    : left.shape;
  if (left.op === "const" && right.op === "const") {
    const values: number[] = [];
    for (const [lane, a] of left.values.entries()) {
      const b = right.values[lane]!;
      const value = compare ? compare(a, b) : folded(name, kind, a, b);
      if (value === null) break;
      values.push(fit(shape.kind, value));
    }
    if (values.length === left.values.length) {
      return { op: "const", shape, values };
    }
  }
  if (kind !== "f32") {
    const neutral = name === "mul" || name === "div" ? 1 : 0;
    if (
      isConst(right, neutral) &&
      ["add", "sub", "mul", "div", "or", "xor", "shl", "shr"].includes(name)
    ) {
      if (name !== "or" || kind !== "bool") return left;
    }
    if (isConst(left, neutral) && (name === "add" || name === "mul")) {
      return right;
    }
    if (name === "mul" && (isConst(left, 0) || isConst(right, 0))) {
      return constant(shape, 0);
    }
    if (kind === "bool") {
      for (const [known, other] of [[left, right], [right, left]] as const) {
        if (name === "and" && isConst(known)) {
          if (isConst(known, 1)) return other;
          if (isConst(known, 0)) return constant(shape, 0);
        }
        if (name === "or" && isConst(known)) {
          if (isConst(known, 0)) return other;
          if (isConst(known, 1)) return constant(shape, 1);
        }
      }
    }
    if (kind === "u32" && right.op === "const") {
      // Division by powers of two, which sizes often are.
      const [first] = right.values;
      const power = Math.log2(first!);
      if (isConst(right, first) && Number.isInteger(power) && first! > 0) {
        if (name === "div") {
          return binary("shr", left, constant(shape, power));
        }
        if (name === "rem") {
          return binary("and", left, constant(shape, first! - 1));
        }
      }
    }
  }
  return { op: "binary", name, shape, left, right };
}

/** A function of one value. */
export function unary(name: UnaryName, value: Expr): Expr {
  const shape: Shape = name === "all" || name === "any"
    ? BOOL
    : name === "pack2x16float"
    ? U32
    : name === "unpack2x16float"
    ? { kind: "f32", width: 2 }
    : value.shape;
  if (value.op === "const") {
    const { values } = value;
    const { kind } = shape;
    const map = (f: (v: number) => number): Expr => ({
      op: "const",
      shape,
      values: values.map((v) => fit(kind, f(v))),
    });
    if (name === "neg") return map((v) => -v);
    if (name === "not") return map((v) => kind === "bool" ? 1 - v : ~v);
    if (name === "all") return constant(BOOL, Number(values.every(Boolean)));
    if (name === "any") return constant(BOOL, Number(values.some(Boolean)));
    if (name === "abs") return map(Math.abs);
  }
  if ((name === "all" || name === "any") && value.shape.width === 1) {
    return value;
  }
  return { op: "unary", name, shape, value };
}

/** One scalar in `width` lanes. */
export function splat(value: Expr, width: number): Expr {
  if (width === 1) return value;
  const shape = { kind: value.shape.kind, width };
  if (value.op === "const") return constant(shape, value.values[0]!);
  return { op: "splat", shape, value };
}

/** Chosen lanes; one gives a scalar. A single lane of a load is loaded alone. */
export function lanesOf(value: Expr, lanes: readonly number[]): Expr {
  const shape = { kind: value.shape.kind, width: lanes.length };
  if (
    lanes.length === value.shape.width && lanes.every((lane, i) => lane === i)
  ) return value;
  switch (value.op) {
    case "const":
      return { op: "const", shape, values: lanes.map((i) => value.values[i]!) };
    case "splat":
      return splat(value.value, lanes.length);
    case "join":
      return join(lanes.map((i) => value.parts[i]!));
    case "lanes":
      return lanesOf(value.value, lanes.map((i) => value.lanes[i]!));
    case "load":
      if (lanes.length === 1 && value.shape.kind !== "bool") {
        const { address } = value;
        const offset = address.offset + 4 * lanes[0]!;
        return { op: "load", shape, address: { ...address, offset } };
      }
  }
  return { op: "lanes", shape, value, lanes };
}

/** A vector from scalars; one scalar stays itself. */
export function join(parts: readonly Expr[]): Expr {
  const first = parts[0]!;
  if (parts.length === 1) return first;
  const shape = { kind: first.shape.kind, width: parts.length };
  if (parts.every((part) => part.op === "const")) {
    const values = parts.map((part) =>
      part.op === "const" ? part.values[0]! : 0
    );
    return { op: "const", shape, values };
  }
  if (
    first.op === "local" &&
    parts.every((part) => part.op === "local" && part.local === first.local)
  ) return splat(first, parts.length);
  const source = first.op === "lanes" ? first.value : null;
  if (
    source &&
    parts.every((part) => part.op === "lanes" && part.value === source)
  ) {
    return lanesOf(
      source,
      parts.map((part) => part.op === "lanes" ? part.lanes[0]! : 0),
    );
  }
  return { op: "join", shape, parts };
}

/** `yes` where the condition holds, else `no`. */
export function select(condition: Expr, yes: Expr, no: Expr): Expr {
  if (isConst(condition, 1)) return yes;
  if (isConst(condition, 0)) return no;
  return { op: "select", shape: yes.shape, condition, yes, no };
}

/** To another kind of lane, by value. */
export function convert(value: Expr, kind: ScalarName): Expr {
  const { kind: from, width } = value.shape;
  if (from === kind) return value;
  const shape = { kind, width };
  if (value.op === "const") {
    const limit = (v: number) =>
      kind === "i32" && from === "f32"
        ? Math.min(Math.max(Math.trunc(v), -(2 ** 31)), 2 ** 31 - 1)
        : kind === "u32" && from === "f32"
        ? Math.min(Math.max(Math.trunc(v), 0), 2 ** 32 - 1)
        : v;
    return {
      op: "const",
      shape,
      values: value.values.map((v) => fit(kind, limit(v))),
    };
  }
  // Signed and unsigned integers are the same bits.
  if (from !== "f32" && kind !== "f32" && from !== "bool" && kind !== "bool") {
    return bitcast(value, kind);
  }
  return { op: "convert", shape, value };
}

/** The same bits as another kind of lane. */
export function bitcast(value: Expr, kind: ScalarName): Expr {
  if (value.shape.kind === kind) return value;
  const shape = { kind, width: value.shape.width };
  if (value.op === "const" && value.shape.kind !== "f32" && kind !== "f32") {
    return {
      op: "const",
      shape,
      values: value.values.map((v) => fit(kind, v)),
    };
  }
  if (value.op === "bitcast") return bitcast(value.value, kind);
  return { op: "bitcast", shape, value };
}

/** The expressions that an expression is made of. */
export function partsOf(e: Expr): readonly Expr[] {
  switch (e.op) {
    case "const":
    case "local":
    case "input":
    case "length":
      return [];
    case "load":
      return [e.address.index];
    case "limit":
      return [e.index, e.count];
    case "binary":
      return [e.left, e.right];
    case "fma":
      return [e.a, e.b, e.c];
    case "select":
      return [e.condition, e.yes, e.no];
    case "join":
      return e.parts;
    case "covers":
      return [e.first, e.rounds, e.count, ...e.steps.map((s) => s.by)];
    default:
      return [e.value];
  }
}

/** An expression like `e` of other parts, in the order of `partsOf`. */
export function withParts(e: Expr, parts: readonly Expr[]): Expr {
  const [a, b, c] = parts as [Expr, Expr, Expr];
  switch (e.op) {
    case "const":
    case "local":
    case "input":
    case "length":
      return e;
    case "load":
      return { ...e, address: { ...e.address, index: a } };
    case "limit":
      return { ...e, index: a, count: b };
    case "binary":
      return { ...e, left: a, right: b };
    case "fma":
      return { ...e, a, b, c };
    case "select":
      return { ...e, condition: a, yes: b, no: c };
    case "join":
      return { ...e, parts };
    case "covers": {
      const steps = e.steps.map((s, i) => ({ ...s, by: parts[3 + i]! }));
      return { ...e, first: a, rounds: b, count: c, steps };
    }
    default:
      return { ...e, value: a };
  }
}

/** The expressions that a statement itself evaluates, without those of statements in it. */
export function exprsOf(s: Stmt): readonly Expr[] {
  switch (s.op) {
    case "set":
      return [s.value];
    case "store":
      return [s.address.index, s.value];
    case "if":
      return [s.condition];
    case "loop":
      return s.condition ? [s.condition] : [];
    case "atomic":
      return [s.address.index, s.value, s.expected].filter((e) => e !== null);
    default:
      return [];
  }
}

/** A statement like `s` with its own expressions replaced one by one. */
export function mapExprs(s: Stmt, f: (e: Expr) => Expr): Stmt {
  const at = (address: Address) => ({ ...address, index: f(address.index) });
  switch (s.op) {
    case "set":
      return { ...s, value: f(s.value) };
    case "store":
      return { ...s, address: at(s.address), value: f(s.value) };
    case "if":
      return { ...s, condition: f(s.condition) };
    case "loop":
      return { ...s, condition: s.condition && f(s.condition) };
    case "atomic":
      return {
        ...s,
        address: at(s.address),
        value: s.value && f(s.value),
        expected: s.expected && f(s.expected),
      };
    default:
      return s;
  }
}

/** The lists of statements inside a statement. */
export function bodiesOf(s: Stmt): readonly (readonly Stmt[])[] {
  switch (s.op) {
    case "if":
      return [s.then, s.else];
    case "loop":
      return [s.body, s.update];
    case "block":
      return [s.body];
    default:
      return [];
  }
}

/** A statement like `s` with the lists inside it replaced. */
export function mapBodies(
  s: Stmt,
  f: (body: readonly Stmt[]) => readonly Stmt[],
): Stmt {
  switch (s.op) {
    case "if":
      return { ...s, then: f(s.then), else: f(s.else) };
    case "loop":
      return { ...s, body: f(s.body), update: f(s.update) };
    case "block":
      return { ...s, body: f(s.body) };
    default:
      return s;
  }
}

/** Calls `f` with every statement, outer ones first. */
export function visit(body: readonly Stmt[], f: (s: Stmt) => void): void {
  for (const s of body) {
    f(s);
    for (const inner of bodiesOf(s)) visit(inner, f);
  }
}

/** Calls `f` with an expression and all it is made of. */
export function visitExpr(e: Expr, f: (e: Expr) => void): void {
  f(e);
  for (const part of partsOf(e)) visitExpr(part, f);
}

const keys = new WeakMap<Expr, string>();

/** A text that equal expressions share. */
export function keyOf(e: Expr): string {
  let key = keys.get(e);
  if (key !== undefined) return key;
  const own = (() => {
    switch (e.op) {
      case "const":
        return e.values.map((v) => Object.is(v, -0) ? "-0" : v).join();
      case "local":
        return e.local.id;
      case "input":
        return e.input;
      case "load": {
        const { memory, stride, offset } = e.address;
        return [memory.space, memory.slot, stride, offset].join();
      }
      case "length":
        return [e.memory.slot, e.offset, e.stride].join();
      case "unary":
      case "binary":
        return e.name;
      case "lanes":
        return e.lanes.join();
      case "covers":
        return e.steps.map((s) => s.early).join();
      default:
        return "";
    }
  })();
  key = `${e.op} ${e.shape.kind}${e.shape.width} ${own}(${
    partsOf(e).map(keyOf).join(" ")
  })`;
  keys.set(e, key);
  return key;
}

/** An index as something that varies and a number added to it. */
export function offsetOf(e: Expr): [rest: Expr | null, offset: number] {
  if (isConst(e)) return [null, e.values[0]!];
  if (e.op === "binary" && e.name === "add") {
    for (const [rest, by] of [[e.left, e.right], [e.right, e.left]] as const) {
      if (!isConst(by)) continue;
      const [inner, offset] = offsetOf(rest);
      return [inner, offset + by.values[0]! | 0];
    }
  }
  return [e, 0];
}
