/**
 * What a checked program means: an interpreter of the typed tree, as plain as it can be, that tests
 * compare compiled kernels with. Numbers are rounded after every operation, an index past the end
 * means the last element, and the invocations of a workgroup take turns at barriers.
 *
 * @module
 */
import type {
  BinaryOperator,
  Expression,
  FunctionNode,
  InvocationBuiltin,
  Program,
  ScalarName,
  Statement,
  Type,
  Variable,
} from "../../../wgsl/tree.ts";
import { sizeOf } from "../../../wgsl/types.ts";
import type { Job } from "../_run.ts";
import { floatBuiltin, integerBuiltin, lanewise } from "./builtins.ts";

/** A number, the parts of something larger, or a pointer. */
export type Value = number | Value[] | Place;

/** Thrown when a program runs for too long. */
export class TooLong extends Error {}

/** Where something is kept. */
interface Place {
  readonly type: Type;
  get(): Value;
  set(value: Value): void;
  /** A member, an element or a lane. */
  part(index: number): Place;
  /** How many parts there are. */
  readonly count: number;
}

function partType(type: Type, index: number): Type {
  switch (type.kind) {
    case "struct":
      return type.members[index]!.type;
    case "array":
      return type.element;
    case "vector":
      return { kind: "scalar", scalar: type.scalar };
    default:
      throw new TypeError(`A ${type.kind} has no parts`);
  }
}

function copy(value: Value): Value {
  return Array.isArray(value) ? value.map(copy) : value;
}

/** A variable of an invocation. */
class Cell implements Place {
  constructor(
    readonly type: Type,
    readonly box: Value[],
    readonly key: number,
  ) {}
  get(): Value {
    return copy(this.box[this.key]!);
  }
  set(value: Value): void {
    if (Array.isArray(value)) {
      // In place, as there may be pointers to the parts.
      value.forEach((v, i) => this.part(i).set(v));
    } else this.box[this.key] = value;
  }
  part(index: number): Place {
    const parts = this.box[this.key] as Value[];
    return new Cell(partType(this.type, index), parts, index);
  }
  get count(): number {
    return (this.box[this.key] as Value[]).length;
  }
}

/** A place in a buffer. */
class InBuffer implements Place {
  constructor(
    readonly type: Type,
    readonly view: DataView,
    readonly offset: number,
  ) {}
  get(): Value {
    const { type, view, offset } = this;
    if (type.kind === "scalar" || type.kind === "atomic") {
      return type.scalar === "f32"
        ? view.getFloat32(offset, true)
        : type.scalar === "i32"
        ? view.getInt32(offset, true)
        : view.getUint32(offset, true);
    }
    return Array.from({ length: this.count }, (_, i) => this.part(i).get());
  }
  set(value: Value): void {
    const { type, view, offset } = this;
    if (Array.isArray(value)) value.forEach((v, i) => this.part(i).set(v));
    else if (type.kind === "scalar" && type.scalar === "f32") {
      view.setFloat32(offset, value as number, true);
    } else view.setUint32(offset, value as number, true);
  }
  part(index: number): Place {
    const { type, view, offset } = this;
    const by = type.kind === "struct"
      ? type.members[index]!.offset
      : type.kind === "array"
      ? type.stride * index
      : 4 * index;
    return new InBuffer(partType(type, index), view, offset + by);
  }
  get count(): number {
    const { type } = this;
    if (type.kind === "struct") return type.members.length;
    if (type.kind === "vector") return type.width;
    if (type.kind !== "array") return 0;
    return type.count ??
      Math.floor((this.view.byteLength - this.offset) / type.stride);
  }
}

function zero(type: Type): Value {
  switch (type.kind) {
    case "vector":
      return Array(type.width).fill(0);
    case "array":
      return Array.from({ length: type.count! }, () => zero(type.element));
    case "struct":
      return type.members.map((member) => zero(member.type));
    default:
      return 0;
  }
}

function scalarOf(type: Type): ScalarName {
  if (type.kind === "array" || type.kind === "struct") throw new TypeError();
  return type.kind === "pointer" ? "u32" : type.scalar;
}

/** A number as one of a type. */
export function fit(scalar: ScalarName, value: number): number {
  switch (scalar) {
    case "f32":
      return Math.fround(value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return Number(value !== 0);
  }
}

const COMPARE: Partial<
  Record<BinaryOperator, (a: number, b: number) => boolean>
> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

function arithmetic(
  operator: BinaryOperator,
  scalar: ScalarName,
  a: number,
  b: number,
): number {
  const compare = COMPARE[operator];
  if (compare) return Number(compare(a, b));
  if (scalar === "f32") {
    switch (operator) {
      case "+":
        return Math.fround(a + b);
      case "-":
        return Math.fround(a - b);
      case "*":
        return Math.fround(a * b);
      case "/":
        return Math.fround(a / b);
      case "%":
        return Math.fround(
          a - Math.fround(b * Math.trunc(Math.fround(a / b))),
        );
    }
  }
  const noQuotient = b === 0 ||
    scalar === "i32" && a === -(2 ** 31) && b === -1;
  const whole = () => {
    switch (operator) {
      case "+":
        return a + b;
      case "-":
        return a - b;
      case "*":
        return Math.imul(a, b);
      case "/":
        return noQuotient ? a : Math.trunc(a / b);
      case "%":
        return noQuotient ? 0 : a % b;
      case "&":
        return a & b;
      case "|":
        return a | b;
      case "^":
        return a ^ b;
      case "<<":
        return a << (b & 31);
      case ">>":
        return scalar === "u32" ? a >>> (b & 31) : a >> (b & 31);
    }
    throw new TypeError(`${operator} of ${scalar}`);
  };
  return fit(scalar, whole());
}

function converted(from: ScalarName, to: ScalarName, value: number): number {
  if (from === "f32" && to === "i32") {
    return Math.min(Math.max(Math.trunc(value), -(2 ** 31)), 2 ** 31 - 1) | 0;
  }
  if (from === "f32" && to === "u32") {
    return Math.min(Math.max(Math.trunc(value), 0), 2 ** 32 - 1) >>> 0;
  }
  return fit(to, value);
}

const word = new DataView(new ArrayBuffer(4));

function recast(from: ScalarName, to: ScalarName, value: number): number {
  if (from === "f32") word.setFloat32(0, value);
  else word.setUint32(0, value);
  return to === "f32"
    ? word.getFloat32(0)
    : to === "i32"
    ? word.getInt32(0)
    : word.getUint32(0);
}

type Told = Readonly<Record<InvocationBuiltin, Value>>;

/** How a list of statements ended. */
type End = "next" | "break" | "continue" | "return";

/** What the statements of an invocation do, with a stop at every barrier. */
type Running<T> = Generator<void, T, void>;

class Invocation {
  /** Functions do not call themselves, so that a name means one thing at a time. */
  readonly #places = new Map<Variable, Place>();
  #result: Value = 0;
  readonly #budget: { steps: number };

  constructor(shared: ReadonlyMap<Variable, Place>, budget: { steps: number }) {
    for (const [variable, place] of shared) this.#places.set(variable, place);
    this.#budget = budget;
  }

  *main(program: Program, told: Told): Running<void> {
    for (const variable of program.globals) {
      if (variable.space !== "private") continue;
      this.#bind(
        variable,
        variable.initial ? this.#value(variable.initial) : zero(variable.type),
      );
    }
    program.entry.parameters.forEach((parameter, i) =>
      this.#bind(parameter, told[program.builtins[i]!])
    );
    yield* this.#statements(program.entry.body);
  }

  #bind(variable: Variable, value: Value): void {
    this.#places.set(variable, new Cell(variable.type, [copy(value)], 0));
  }

  *#statements(body: readonly Statement[]): Running<End> {
    for (const s of body) {
      const end = yield* this.#statement(s);
      if (end !== "next") return end;
    }
    return "next";
  }

  *#statement(s: Statement): Running<End> {
    if (--this.#budget.steps < 0) throw new TooLong();
    switch (s.op) {
      case "declare":
        this.#bind(
          s.variable,
          s.value ? this.#value(s.value) : zero(s.variable.type),
        );
        return "next";
      case "assign": {
        const place = this.#place(s.target);
        if (!s.operator) place.set(this.#value(s.value));
        else {
          const old = place.get();
          const { operator } = s;
          const scalar = scalarOf(s.target.type);
          place.set(
            lanewise(
              (a, b) => arithmetic(operator, scalar, a!, b!),
              old,
              this.#value(s.value),
            ),
          );
        }
        return "next";
      }
      case "evaluate": {
        const { value } = s;
        const waits = value.op === "builtin" && /Barrier$/.test(value.name);
        if (waits) yield;
        else this.#value(value);
        return "next";
      }
      case "if":
        return yield* this.#statements(
          this.#value(s.condition) ? s.then : s.else,
        );
      case "switch": {
        const selector = this.#value(s.selector);
        const chosen =
          s.cases.find((c) => c.values.some((value) => value === selector)) ??
            s.cases.find((c) => c.isDefault)!;
        const end = yield* this.#statements(chosen.body);
        return end === "break" ? "next" : end;
      }
      case "for": {
        if (s.init) yield* this.#statement(s.init);
        while (!s.condition || this.#value(s.condition)) {
          if (--this.#budget.steps < 0) throw new TooLong();
          const end = yield* this.#statements(s.body);
          if (end === "break") break;
          if (end === "return") return end;
          if (s.update) yield* this.#statement(s.update);
        }
        return "next";
      }
      case "loop":
        for (;;) {
          if (--this.#budget.steps < 0) throw new TooLong();
          const end = yield* this.#statements(s.body);
          if (end === "break") return "next";
          if (end === "return") return end;
          yield* this.#statements(s.continuing);
          if (s.breakIf && this.#value(s.breakIf)) return "next";
        }
      case "block":
        return yield* this.#statements(s.body);
      case "return":
        if (s.value) this.#result = this.#value(s.value);
        return "return";
      case "break":
      case "continue":
        return s.op;
    }
  }

  #number(e: Expression): number {
    return this.#value(e) as number;
  }

  /** An index brought into range. */
  #index(e: Expression, count: number): number {
    return Math.min(this.#number(e) >>> 0, count - 1);
  }

  #isPlace(e: Expression): boolean {
    switch (e.op) {
      case "variable":
        return e.variable.kind === "var";
      case "member":
      case "index":
        return this.#isPlace(e.base);
      default:
        return e.op === "deref";
    }
  }

  #place(e: Expression): Place {
    switch (e.op) {
      case "variable": {
        const place = this.#places.get(e.variable);
        if (!place) throw new TypeError(`${e.variable.name} has no place`);
        return place;
      }
      case "member":
        return this.#place(e.base).part(e.index);
      case "swizzle":
        return this.#place(e.base).part(e.lanes[0]!);
      case "index": {
        const base = this.#place(e.base);
        return base.part(this.#index(e.index, base.count));
      }
      case "deref":
        return this.#value(e.pointer) as Place;
      default:
        throw new TypeError(`${e.op} is no place`);
    }
  }

  #value(e: Expression): Value {
    switch (e.op) {
      case "literal":
        return e.type.kind === "vector" ? [...e.values] : e.values[0]!;
      case "variable":
      case "deref":
        return this.#place(e).get();
      case "member":
        return this.#isPlace(e)
          ? this.#place(e).get()
          : (this.#value(e.base) as Value[])[e.index]!;
      case "index": {
        if (this.#isPlace(e)) return this.#place(e).get();
        const base = this.#value(e.base) as Value[];
        return base[this.#index(e.index, base.length)]!;
      }
      case "swizzle": {
        const base = this.#value(e.base) as number[];
        const lanes = e.lanes.map((lane) => base[lane]!);
        return lanes.length === 1 ? lanes[0]! : lanes;
      }
      case "unary": {
        const { operator } = e;
        const scalar = scalarOf(e.type);
        return lanewise(
          (x) =>
            fit(
              scalar,
              operator === "!"
                ? Number(!x)
                : operator === "~"
                ? ~x!
                : scalar === "f32"
                ? -x!
                : 0 - x!,
            ),
          this.#value(e.operand),
        );
      }
      case "binary": {
        const { operator } = e;
        if (operator === "&&") {
          return this.#value(e.left) ? this.#value(e.right) : 0;
        }
        if (operator === "||") {
          return this.#value(e.left) ? 1 : this.#value(e.right);
        }
        const scalar = scalarOf(e.left.type);
        const left = this.#value(e.left), right = this.#value(e.right);
        return lanewise(
          (a, b) => arithmetic(operator, scalar, a!, b!),
          left,
          right,
        );
      }
      case "call":
        return this.#call(e.function, e.args);
      case "builtin":
        return this.#builtin(e);
      case "construct": {
        if (e.args.length === 0) return zero(e.type);
        const args = e.args.map((arg) => this.#value(arg));
        if (e.type.kind === "scalar") return args[0]!;
        if (e.type.kind !== "vector") return args;
        const lanes = args.flat() as number[];
        return lanes.length === 1 ? Array(e.type.width).fill(lanes[0]) : lanes;
      }
      case "convert": {
        const from = scalarOf(e.operand.type), to = scalarOf(e.type);
        return lanewise(
          (x) => converted(from, to, x!),
          this.#value(e.operand),
        );
      }
      case "bitcast": {
        const from = scalarOf(e.operand.type), to = scalarOf(e.type);
        return lanewise((x) => recast(from, to, x!), this.#value(e.operand));
      }
      case "address":
        return this.#place(e.place);
    }
  }

  #call(f: FunctionNode, args: readonly Expression[]): Value {
    const values = args.map((arg) => this.#value(arg));
    f.parameters.forEach((parameter, i) => this.#bind(parameter, values[i]!));
    const running = this.#statements(f.body);
    if (!running.next().done) throw new TypeError("A barrier in a function");
    return this.#result;
  }

  #builtin(e: Expression & { op: "builtin" }): Value {
    const { name } = e;
    if (name === "arrayLength") return (this.#value(e.args[0]!) as Place).count;
    if (name.startsWith("atomic")) return this.#atomic(e);
    const args = e.args.map((arg) => this.#value(arg));
    const first = e.args[0]!.type;
    const result = scalarOf(first) === "f32"
      ? floatBuiltin(name, args)
      : integerBuiltin(name, scalarOf(first), args);
    return lanewise((x) => fit(scalarOf(e.type), x!), result);
  }

  #atomic(e: Expression & { op: "builtin" }): Value {
    const place = this.#value(e.args[0]!) as Place;
    const old = place.get() as number;
    const value = e.args[1] ? this.#number(e.args[1]) : 0;
    const scalar = scalarOf(place.type);
    const next: Record<string, () => number> = {
      Load: () => old,
      Store: () => value,
      Add: () => old + value,
      Sub: () => old - value,
      Max: () => Math.max(old, value),
      Min: () => Math.min(old, value),
      And: () => old & value,
      Or: () => old | value,
      Xor: () => old ^ value,
      Exchange: () => value,
    };
    place.set(fit(scalar, next[name(e)]!()));
    return old;
  }
}

function name(e: Expression & { op: "builtin" }): string {
  return e.name.slice("atomic".length);
}

/**
 * Runs all workgroups of a job; returns the buffers as they are afterwards.
 *
 * @param steps Statements and rounds of loops before it gives up.
 * @throws {TooLong} If it gives up.
 */
export function interpret(
  program: Program,
  job: Job,
  steps: number,
): Record<string, Uint32Array> {
  const { groups = [1, 1, 1], buffers, uniform } = job;
  const [width, height, depth] = program.workgroupSize;
  const budget = { steps };
  const views = new Map<Variable, Place>();
  const results: Record<string, Uint32Array> = {};
  for (const variable of program.bindings) {
    const given = variable.space === "uniform"
      ? uniform!
      : buffers[variable.name]!;
    const bytes = new Uint8Array(16 * Math.ceil(given.byteLength / 16));
    bytes.set(new Uint8Array(given.buffer, given.byteOffset, given.byteLength));
    views.set(
      variable,
      new InBuffer(variable.type, new DataView(bytes.buffer), 0),
    );
    if (variable.space !== "uniform") {
      results[variable.name] = new Uint32Array(bytes.buffer, 0, given.length);
    }
  }
  const [gx, gy, gz] = groups;
  for (let group = 0; group < gx * gy * gz; group++) {
    const id = [
      group % gx,
      Math.floor(group / gx) % gy,
      Math.floor(group / gx / gy),
    ];
    const shared = new Map(views);
    for (const variable of program.globals) {
      if (variable.space !== "workgroup") continue;
      const bytes = sizeOf(variable.type);
      shared.set(
        variable,
        new InBuffer(variable.type, new DataView(new ArrayBuffer(bytes)), 0),
      );
    }
    let running = Array.from({ length: width * height * depth }, (_, i) => {
      const local = [
        i % width,
        Math.floor(i / width) % height,
        Math.floor(i / width / height),
      ];
      return new Invocation(shared, budget).main(program, {
        local_invocation_id: local,
        local_invocation_index: i,
        global_invocation_id: local.map((l, axis) =>
          id[axis]! * program.workgroupSize[axis]! + l
        ),
        workgroup_id: id,
        num_workgroups: [...groups],
      });
    });
    while (running.length > 0) running = running.filter((r) => !r.next().done);
  }
  return results;
}
