/**
 * From the typed tree to one body of registers and memory accesses: functions are written out where
 * they are called, short loops with known counts are unrolled, structs and arrays become registers
 * as far as their indices are known, and indices into memory are limited to its size.
 *
 * @module
 */
import { builtin } from "./expand.ts";
import {
  type Address,
  binary,
  type BinaryName,
  bitcast,
  BOOL,
  constant,
  convert,
  type Expr,
  type Input,
  isConst,
  join,
  lanesOf,
  type Local,
  type Lowered,
  type Memory,
  read,
  select,
  type Shape,
  splat,
  type Stmt,
  U32,
  u32,
  unary,
} from "./ir.ts";
import type {
  BinaryOperator,
  Expression,
  FunctionNode,
  InvocationBuiltin,
  Program,
  Statement,
  Type,
  Variable,
} from "./tree.ts";
import { WgslError } from "./error.ts";
import { sizeOf as sizeOfType } from "./types.ts";

/** A register value, or the parts of a struct or an array. */
type Value = Expr | { readonly op: "parts"; readonly parts: readonly Value[] };

/** Where a value can be read and written. */
type Place =
  | { at: "registers"; value: Value; type: Type; root?: Variable }
  | {
    at: "memory";
    memory: Memory;
    index: Expr;
    stride: number;
    offset: number;
    type: Type;
  }
  /** One lane of a vector at another place. */
  | { at: "lane"; vector: Place; lane: Expr; type: Type };

/** A function that is being written out. */
interface Frame {
  /** Registers of its result. */
  result: Value | null;
  label: number;
  /** Whether some return leaves from the middle. */
  left: boolean;
}

/** Nodes that unrolled loops may come to, and the most rounds. */
const UNROLLED_NODES = 3000, UNROLLED_ROUNDS = 64;

const BINARY: Record<BinaryOperator, BinaryName> = {
  "+": "add",
  "-": "sub",
  "*": "mul",
  "/": "div",
  "%": "rem",
  "&": "and",
  "|": "or",
  "^": "xor",
  "<<": "shl",
  ">>": "shr",
  "&&": "and",
  "||": "or",
  "==": "eq",
  "!=": "ne",
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
};

/** Thrown when an array turns out to be indexed at run time: it must live in memory. */
class NeedsMemory {
  constructor(readonly variable: Variable) {}
}

/** Lowers a checked program; `label` names it in errors. */
export function lower(program: Program, label: string): Lowered {
  const inMemory = new Set<Variable>();
  for (;;) {
    try {
      return new Lowering(program, label, inMemory).run();
    } catch (error) {
      if (!(error instanceof NeedsMemory)) throw error;
      inMemory.add(error.variable);
    }
  }
}

/** Kind and lanes of a type that fits a register. */
function shapeOf(type: Type): Shape {
  switch (type.kind) {
    case "scalar":
    case "atomic":
      return { kind: type.scalar, width: 1 };
    case "vector":
      return { kind: type.scalar, width: type.width };
    default:
      throw new TypeError(`A ${type.kind} is no register`);
  }
}

function isRegister(type: Type): boolean {
  return type.kind === "scalar" || type.kind === "vector" ||
    type.kind === "atomic";
}

/** The types of the parts of a struct or an array of known length. */
function partTypes(type: Type): Type[] {
  if (type.kind === "struct") return type.members.map((m) => m.type);
  if (type.kind === "array" && type.count !== null) {
    return Array(type.count).fill(type.element);
  }
  throw new TypeError(`A ${type.kind} has no parts`);
}

class Lowering {
  readonly #program: Program;
  readonly #label: string;
  readonly #inMemory: ReadonlySet<Variable>;
  readonly #memories = new Map<Variable, Memory>();
  readonly #frameMemory: Memory = {
    space: "frame",
    slot: 0,
    variable: null,
    constant: false,
  };
  readonly #storage: Variable[] = [];
  #uniform: Variable | null = null;
  #frameBytes = 0;
  #workgroupBytes = 0;
  #locals = 0;
  #labels = 0;
  /** What names mean now; unrolled loops and inlined functions bind the same name again and again. */
  readonly #scope = new Map<Variable, Place>();
  #out: Stmt[] = [];
  #frames: Frame[] = [];
  #loops: { label: number; next: number }[] = [];

  constructor(
    program: Program,
    label: string,
    inMemory: ReadonlySet<Variable>,
  ) {
    this.#program = program;
    this.#label = label;
    this.#inMemory = inMemory;
  }

  run(): Lowered {
    const { entry, builtins, workgroupSize, bindings, globals } = this.#program;
    for (const variable of bindings) {
      const uniform = variable.space === "uniform";
      if (uniform && this.#uniform) {
        this.#fail(variable.at, "a second uniform variable; use one struct");
      }
      this.#memories.set(variable, {
        space: uniform ? "uniform" : "storage",
        slot: uniform ? 0 : this.#storage.length,
        variable,
        constant: uniform || variable.access === "read",
      });
      if (uniform) this.#uniform = variable;
      else this.#storage.push(variable);
    }
    for (const variable of globals) {
      if (variable.space === "workgroup") {
        this.#memories.set(variable, {
          space: "workgroup",
          slot: 0,
          variable,
          constant: false,
        });
        this.#scope.set(variable, {
          at: "memory",
          memory: this.#memories.get(variable)!,
          index: u32(0),
          stride: 1,
          offset: this.#workgroupBytes,
          type: variable.type,
        });
        this.#workgroupBytes += 16 * Math.ceil(sizeOfType(variable.type) / 16);
      } else this.#declare(variable, variable.initial ?? null);
    }
    for (const [i, parameter] of entry.parameters.entries()) {
      this.#scope.set(parameter, {
        at: "registers",
        value: this.#keep(told(builtins[i]!, workgroupSize), parameter.name),
        type: parameter.type,
      });
    }
    const label = this.#labels++;
    this.#frames.push({ result: null, label, left: false });
    this.#statements(entry.body, true);
    return {
      body: [{ op: "block", label, body: this.#out }],
      workgroupSize,
      storage: this.#storage,
      uniform: this.#uniform,
      frameBytes: this.#frameBytes,
      workgroupBytes: this.#workgroupBytes,
    };
  }

  #fail(at: { line: number; column: number }, what: string): never {
    throw new WgslError(`Cannot compile ${what}`, this.#label, at);
  }

  #local(shape: Shape, name: string): Local {
    return { id: this.#locals++, name, shape };
  }

  #emit(s: Stmt): void {
    this.#out.push(s);
  }

  /** The statements that `body` emits. */
  #collect(body: () => void): Stmt[] {
    const outer = this.#out;
    const inner: Stmt[] = this.#out = [];
    try {
      body();
    } finally {
      this.#out = outer;
    }
    return inner;
  }

  /** A value that later assignments do not change: registers of its own, unless it is known. */
  #keep(value: Value, name: string): Value {
    if (value.op === "parts") {
      return {
        op: "parts",
        parts: value.parts.map((part, i) => this.#keep(part, `${name}_${i}`)),
      };
    }
    if (value.op === "const" || value.op === "input") return value;
    const local = this.#local(value.shape, name);
    this.#emit({ op: "set", local, value });
    return read(local);
  }

  /** Registers for a type, without a value yet. */
  #registers(type: Type, name: string): Value {
    if (isRegister(type)) return read(this.#local(shapeOf(type), name));
    return {
      op: "parts",
      parts: partTypes(type).map((part, i) =>
        this.#registers(part, `${name}_${i}`)
      ),
    };
  }

  #zero(type: Type): Value {
    if (isRegister(type)) return constant(shapeOf(type), 0);
    return { op: "parts", parts: partTypes(type).map((t) => this.#zero(t)) };
  }

  #declare(variable: Variable, initial: Expression | null): void {
    const { type, name } = variable;
    const value = initial ? this.#value(initial) : this.#zero(type);
    if (this.#inMemory.has(variable)) {
      const offset = this.#frameBytes;
      this.#frameBytes += 16 * Math.ceil(sizeOfType(type) / 16);
      const place: Place = {
        at: "memory",
        memory: this.#frameMemory,
        index: u32(0),
        stride: 1,
        offset,
        type,
      };
      this.#scope.set(variable, place);
      this.#write(place, value);
      return;
    }
    const registers = this.#registers(type, name);
    this.#assign(registers, value);
    this.#scope.set(variable, {
      at: "registers",
      value: registers,
      type,
      root: variable,
    });
  }

  #assign(registers: Value, value: Value): void {
    if (registers.op === "parts") {
      if (value.op !== "parts") throw new TypeError("parts expected");
      registers.parts.forEach((part, i) => this.#assign(part, value.parts[i]!));
    } else if (registers.op === "local" && value.op !== "parts") {
      this.#emit({ op: "set", local: registers.local, value });
    } else throw new TypeError("a register expected");
  }

  // ---- Places

  #place(e: Expression): Place {
    switch (e.op) {
      case "variable": {
        const { variable } = e;
        const known = this.#scope.get(variable);
        if (known) return known;
        const memory = this.#memories.get(variable);
        if (!memory) throw new TypeError(`${variable.name} has no place`);
        return {
          at: "memory",
          memory,
          index: u32(0),
          stride: 1,
          offset: 0,
          type: variable.type,
        };
      }
      case "deref": {
        const pointer = this.#pointer(e.pointer);
        return pointer;
      }
      case "member": {
        const base = this.#place(e.base);
        if (base.at === "registers") {
          return { ...base, value: part(base.value, e.index), type: e.type };
        }
        if (base.at === "memory" && base.type.kind === "struct") {
          const { offset } = base.type.members[e.index]!;
          return { ...base, offset: base.offset + offset, type: e.type };
        }
        break;
      }
      case "swizzle": {
        if (e.lanes.length > 1) break;
        const vector = this.#place(e.base);
        return { at: "lane", vector, lane: u32(e.lanes[0]!), type: e.type };
      }
      case "index": {
        let base = this.#place(e.base);
        let index!: Expr;
        const inner = this.#collect(() => {
          index = this.#index(e.index);
        });
        if (inner.length > 0) base = this.#fixed(base);
        for (const step of inner) this.#emit(step);
        if (base.type.kind === "vector") {
          const lane = this.#limit(index, base.type.width);
          // In memory not through the whole vector: others may be writing its other lanes.
          if (base.at === "memory") return this.#step(base, lane, 4, e.type);
          return {
            at: "lane",
            vector: base,
            lane: isConst(lane) ? lane : index,
            type: e.type,
          };
        }
        if (base.type.kind !== "array") break;
        const { count, stride } = base.type;
        if (base.at === "registers") {
          if (isConst(index)) {
            const at = Math.min(index.values[0]!, count! - 1);
            return { ...base, value: part(base.value, at), type: e.type };
          }
          if (base.root) throw new NeedsMemory(base.root);
          // An array value that is never written: chosen by comparison.
          return {
            ...base,
            value: choose(base.value, index),
            type: e.type,
          };
        }
        if (base.at !== "memory") break;
        const limited: Expr = count !== null
          ? this.#limit(index, count)
          : { op: "limit", shape: U32, index, count: lengthOf(base, stride) };
        return this.#step(base, limited, stride, e.type);
      }
    }
    return { at: "registers", value: this.#value(e), type: e.type };
  }

  /** An index into so many elements, brought into range. */
  #limit(index: Expr, count: number): Expr {
    return isConst(index)
      ? u32(Math.min(index.values[0]!, count - 1))
      : { op: "limit", shape: U32, index, count: u32(count) };
  }

  /** The place `index * stride` bytes further. */
  #step(
    base: Place & { at: "memory" },
    index: Expr,
    stride: number,
    type: Type,
  ): Place {
    if (isConst(index)) {
      return {
        ...base,
        offset: base.offset + stride * index.values[0]!,
        type,
      };
    }
    if (isConst(base.index, 0)) return { ...base, index, stride, type };
    return {
      ...base,
      index: binary(
        "add",
        binary("mul", base.index, u32(base.stride)),
        binary("mul", index, u32(stride)),
      ),
      stride: 1,
      type,
    };
  }

  /** A place that stays where it is when what its index was computed from changes. */
  #fixed(place: Place): Place {
    switch (place.at) {
      case "registers":
        return place.root
          ? place
          : { ...place, value: this.#keep(place.value, "kept") };
      case "memory":
        return { ...place, index: this.#keep(place.index, "index") as Expr };
      case "lane":
        return {
          ...place,
          vector: this.#fixed(place.vector),
          lane: this.#keep(place.lane, "lane") as Expr,
        };
    }
  }

  #pointer(e: Expression): Place {
    if (e.op === "address") return this.#place(e.place);
    if (e.op === "variable") {
      const place = this.#scope.get(e.variable);
      if (place) return place;
    }
    this.#fail(e.at, "a pointer that is not known; pass &variable directly");
  }

  #index(e: Expression): Expr {
    const index = this.#scalar(e);
    return index.shape.kind === "i32" ? bitcast(index, "u32") : index;
  }

  #read(place: Place): Value {
    if (place.at === "registers") return place.value;
    if (place.at === "lane") {
      const vector = this.#read(place.vector) as Expr;
      if (isConst(place.lane)) return lanesOf(vector, [place.lane.values[0]!]);
      return choose(
        {
          op: "parts",
          parts: Array.from(
            { length: vector.shape.width },
            (_, i) => lanesOf(vector, [i]),
          ),
        },
        place.lane,
      );
    }
    const { type } = place;
    if (isRegister(type)) {
      const shape = shapeOf(type);
      // Booleans in memory are words.
      const stored = shape.kind === "bool"
        ? { kind: "u32" as const, width: shape.width }
        : shape;
      const value: Expr = {
        op: "load",
        shape: stored,
        address: addressOf(place),
      };
      return shape.kind === "bool" ? convert(value, "bool") : value;
    }
    return {
      op: "parts",
      parts: partTypes(type).map((part, i) =>
        this.#read({ ...place, ...inside(type, i, place.offset), type: part })
      ),
    };
  }

  #write(place: Place, value: Value): void {
    if (place.at === "registers") return this.#assign(place.value, value);
    if (place.at === "lane") {
      const { vector, lane } = place;
      if (value.op === "parts") throw new TypeError("a scalar expected");
      if (vector.at === "memory" && isConst(lane)) {
        return this.#write({
          ...vector,
          offset: vector.offset + 4 * lane.values[0]!,
          type: place.type,
        }, value);
      }
      const old = this.#read(vector) as Expr;
      const kept = isConst(value) ? value : this.#keep(value, "lane") as Expr;
      const parts = Array.from({ length: old.shape.width }, (_, i) => {
        const was = lanesOf(old, [i]);
        return isConst(lane) ? (lane.values[0] === i ? kept : was) : select(
          // Past the end is the last, as where it is read.
          binary(i < old.shape.width - 1 ? "eq" : "ge", lane, u32(i)),
          kept,
          was,
        );
      });
      return this.#write(vector, join(parts));
    }
    if (value.op === "parts") {
      const { type } = place;
      partTypes(type).forEach((part, i) =>
        this.#write(
          { ...place, ...inside(type, i, place.offset), type: part },
          value.parts[i]!,
        )
      );
      return;
    }
    const stored = value.shape.kind === "bool" ? convert(value, "u32") : value;
    this.#emit({ op: "store", address: addressOf(place), value: stored });
  }

  // ---- Values

  #scalar(e: Expression): Expr {
    const value = this.#value(e);
    if (value.op === "parts") throw new TypeError("a register expected");
    return value;
  }

  /** Values of several expressions in order; what a later one's calls could change is kept first. */
  #values(es: readonly Expression[]): Value[] {
    const values: Value[] = [];
    for (const e of es) {
      let value: Value | null = null;
      const inner = this.#collect(() => {
        value = this.#value(e);
      });
      if (inner.length > 0) {
        for (const [i, earlier] of values.entries()) {
          values[i] = this.#keep(earlier, "kept");
        }
      }
      for (const s of inner) this.#emit(s);
      values.push(value!);
    }
    return values;
  }

  #value(e: Expression): Value {
    switch (e.op) {
      case "literal":
        return constant(shapeOf(e.type), ...e.values);
      case "variable":
      case "member":
      case "index":
      case "deref":
        return this.#read(this.#place(e));
      case "swizzle": {
        const base = this.#scalar(e.base);
        return lanesOf(base, e.lanes);
      }
      case "unary": {
        const operand = this.#scalar(e.operand);
        return unary(e.operator === "-" ? "neg" : "not", operand);
      }
      case "binary":
        return this.#binary(e);
      case "convert":
        return convert(this.#scalar(e.operand), shapeOf(e.type).kind);
      case "bitcast":
        return bitcast(this.#scalar(e.operand), shapeOf(e.type).kind);
      case "construct":
        return this.#construct(e);
      case "builtin":
        return this.#builtin(e);
      case "call": {
        const result = this.#call(e.function, e.args);
        if (!result) throw new TypeError(`${e.function.name} has no result`);
        return result;
      }
      case "address":
        this.#fail(e.at, "a pointer as a value; pass &variable directly");
    }
  }

  #binary(e: Expression & { op: "binary" }): Expr {
    if (e.operator === "&&" || e.operator === "||") {
      const left = this.#scalar(e.left);
      if (isConst(left)) {
        const decided = Boolean(left.values[0]) === (e.operator === "||");
        return decided ? left : this.#scalar(e.right);
      }
      let right: Expr | null = null;
      const inner = this.#collect(() => {
        right = this.#scalar(e.right);
      });
      if (inner.length === 0) return binary(BINARY[e.operator], left, right!);
      const local = this.#local(BOOL, "decided");
      this.#emit({ op: "set", local, value: left });
      const run: Stmt[] = [...inner, { op: "set", local, value: right! }];
      this.#emit({
        op: "if",
        condition: read(local),
        then: e.operator === "&&" ? run : [],
        else: e.operator === "&&" ? [] : run,
      });
      return read(local);
    }
    const [left, right] = this.#values([e.left, e.right]) as [Expr, Expr];
    return binary(BINARY[e.operator], left, right);
  }

  #construct(e: Expression & { op: "construct" }): Value {
    const { type } = e;
    if (e.args.length === 0) return this.#zero(type);
    const args = this.#values(e.args);
    if (!isRegister(type)) return { op: "parts", parts: args };
    const { width } = shapeOf(type);
    const given = args as Expr[];
    if (given.length === 1) {
      const [value] = given;
      return value!.shape.width === 1 ? splat(value!, width) : value!;
    }
    return join(
      given.flatMap((value) =>
        Array.from({ length: value.shape.width }, (_, i) => lanesOf(value, [i]))
      ),
    );
  }

  #builtin(e: Expression & { op: "builtin" }): Value {
    const { name } = e;
    if (name === "arrayLength") {
      const place = this.#pointer(e.args[0]!);
      if (place.at !== "memory" || place.type.kind !== "array") {
        this.#fail(e.at, "arrayLength of this");
      }
      return lengthOf(place, place.type.stride);
    }
    if (name === "workgroupBarrier" || name === "storageBarrier") {
      this.#emit({ op: "barrier" });
      return constant(U32, 0);
    }
    if (name === "workgroupUniformLoad") {
      this.#emit({ op: "barrier" });
      const value = this.#keep(this.#read(this.#pointer(e.args[0]!)), "loaded");
      this.#emit({ op: "barrier" });
      return value;
    }
    if (name.startsWith("atomic")) return this.#atomic(e);
    const args = this.#values(e.args) as Expr[];
    // What an expansion uses more than once is computed once.
    const simple = args.map((arg) =>
      isConst(arg) || arg.op === "local" || e.args.length === 1 && cheap(name)
        ? arg
        : this.#keep(arg, name) as Expr
    );
    const value = builtin(name, simple);
    if (!value) this.#fail(e.at, `${name}()`);
    return value;
  }

  #atomic(e: Expression & { op: "builtin" }): Value {
    const place = this.#pointer(e.args[0]!);
    if (place.at !== "memory") this.#fail(e.at, "an atomic in registers");
    const rest = this.#values(e.args.slice(1)) as Expr[];
    const name = e.name.slice("atomic".length);
    const known = {
      Load: "load",
      Store: "store",
      Add: "add",
      Sub: "sub",
      And: "and",
      Or: "or",
      Xor: "xor",
      Exchange: "exchange",
      Min: "min",
      Max: "max",
    } as const;
    const op = known[name as keyof typeof known];
    if (!op) this.#fail(e.at, `${e.name}()`);
    const result = op === "store"
      ? null
      : this.#local(shapeOf(e.type), "before");
    this.#emit({
      op: "atomic",
      name: op,
      address: addressOf(place),
      result,
      value: rest[0] ?? null,
      expected: null,
    });
    return result ? read(result) : constant(U32, 0);
  }

  #call(f: FunctionNode, args: readonly Expression[]): Value | null {
    // A function's parameters and variables may be bound already, where it is called by its caller.
    const values = f.parameters.map((parameter, i) => {
      if (parameter.type.kind === "pointer") {
        return this.#fixed(this.#pointer(args[i]!));
      }
      return null;
    });
    const plain = this.#values(
      args.filter((_, i) => values[i] === null),
    );
    let next = 0;
    for (const [i, parameter] of f.parameters.entries()) {
      this.#scope.set(
        parameter,
        values[i] ?? {
          at: "registers",
          value: this.#keep(plain[next++]!, parameter.name),
          type: parameter.type,
        },
      );
    }
    const frame: Frame = {
      result: f.result ? this.#registers(f.result, f.name) : null,
      label: this.#labels++,
      left: false,
    };
    this.#frames.push(frame);
    const loops = this.#loops;
    this.#loops = [];
    const body = this.#collect(() => this.#statements(f.body, true));
    this.#loops = loops;
    this.#frames.pop();
    if (frame.left) {
      this.#emit({ op: "block", label: frame.label, body });
    } else for (const s of body) this.#emit(s);
    return frame.result;
  }

  // ---- Statements

  /** `tail`: nothing of the function follows. Returns whether what follows is reached. */
  #statements(body: readonly Statement[], tail: boolean): boolean {
    for (const [i, s] of body.entries()) {
      if (!this.#statement(s, tail && i === body.length - 1)) return false;
    }
    return true;
  }

  #statement(s: Statement, tail: boolean): boolean {
    switch (s.op) {
      case "declare":
        if (s.variable.kind === "let") {
          if (s.variable.type.kind === "pointer") {
            this.#scope.set(s.variable, this.#fixed(this.#pointer(s.value!)));
            return true;
          }
          const value = this.#value(s.value!);
          this.#scope.set(s.variable, {
            at: "registers",
            value: this.#keep(value, s.variable.name),
            type: s.variable.type,
          });
        } else this.#declare(s.variable, s.value);
        return true;
      case "assign": {
        let place = this.#place(s.target);
        let old = s.operator ? this.#read(place) as Expr : null;
        let value!: Value;
        const inner = this.#collect(() => {
          value = this.#value(s.value);
        });
        if (inner.length > 0) {
          // What comes first is not changed by calls in what comes later.
          place = this.#fixed(place);
          old &&= this.#keep(old, "old") as Expr;
        }
        for (const step of inner) this.#emit(step);
        if (s.operator) {
          value = binary(BINARY[s.operator], old!, value as Expr);
        }
        // The parts of a composite may be read while others are written.
        this.#write(
          place,
          value.op === "parts" ? this.#keep(value, "kept") : value,
        );
        return true;
      }
      case "evaluate":
        if (s.value.op === "call") this.#call(s.value.function, s.value.args);
        else this.#value(s.value);
        return true;
      case "block":
        return this.#statements(s.body, tail);
      case "if":
        return this.#if(s, tail);
      case "switch":
        return this.#switch(s, tail);
      case "for":
        return this.#for(s);
      case "loop":
        return this.#loop(s);
      case "return": {
        const frame = this.#frames.at(-1)!;
        if (s.value) this.#assign(frame.result!, this.#value(s.value));
        if (!tail) {
          frame.left = true;
          this.#emit({ op: "exit", label: frame.label });
        }
        return false;
      }
      case "break":
        this.#emit({ op: "exit", label: this.#loops.at(-1)!.label });
        return false;
      case "continue":
        this.#emit({ op: "exit", label: nextOf(this.#loops) });
        return false;
    }
  }

  #if(s: Statement & { op: "if" }, tail: boolean): boolean {
    const condition = this.#scalar(s.condition);
    if (isConst(condition)) {
      return this.#statements(condition.values[0] ? s.then : s.else, tail);
    }
    let thenOn = true, elseOn = true;
    const then = this.#collect(() => {
      thenOn = this.#statements(s.then, tail);
    });
    const otherwise = this.#collect(() => {
      elseOn = this.#statements(s.else, tail);
    });
    this.#emit({ op: "if", condition, then, else: otherwise });
    return thenOn || elseOn;
  }

  #switch(s: Statement & { op: "switch" }, tail: boolean): boolean {
    const selector = this.#keep(this.#scalar(s.selector), "selector") as Expr;
    const label = this.#labels++;
    this.#loops.push({ label, next: -1 });
    let on = false;
    const bodyOf = (body: readonly Statement[]) =>
      this.#collect(() => {
        if (this.#statements(body, tail && !hasBreak(body))) on = true;
      });
    const fallback = s.cases.find((c) => c.isDefault)!;
    let body: Stmt[];
    if (isConst(selector)) {
      const [value] = selector.values;
      const found = s.cases.find((c) => c.values.some((v) => v === value)) ??
        fallback;
      body = bodyOf(found.body);
    } else {
      body = bodyOf(fallback.body);
      for (const c of s.cases.toReversed()) {
        if (c === fallback) continue;
        const tests = c.values.map((v) =>
          binary("eq", selector, constant(selector.shape, v))
        );
        const condition = tests.reduce((a, b) => binary("or", a, b));
        body = [{ op: "if", condition, then: bodyOf(c.body), else: body }];
      }
    }
    this.#loops.pop();
    const breaks = s.cases.some((c) => hasBreak(c.body));
    if (breaks) this.#emit({ op: "block", label, body });
    else for (const inner of body) this.#emit(inner);
    return on || breaks;
  }

  #for(s: Statement & { op: "for" }): boolean {
    const counts = this.#countsOf(s);
    if (counts) {
      const { variable, values } = counts;
      const end = this.#labels++;
      const breaks = hasBreak(s.body);
      const all = this.#collect(() => {
        for (const value of values) {
          this.#scope.set(variable, {
            at: "registers",
            value: constant(shapeOf(variable.type), value),
            type: variable.type,
          });
          const next = this.#labels++;
          this.#loops.push({ label: end, next });
          const body = this.#collect(() => this.#statements(s.body, false));
          this.#loops.pop();
          if (hasContinue(s.body)) {
            this.#emit({ op: "block", label: next, body });
          } else for (const inner of body) this.#emit(inner);
        }
      });
      if (breaks) this.#emit({ op: "block", label: end, body: all });
      else for (const inner of all) this.#emit(inner);
      return true;
    }
    if (s.init) this.#statement(s.init, false);
    const label = this.#labels++, next = this.#labels++;
    this.#loops.push({ label, next });
    let condition: Expr | null = null;
    const before = this.#collect(() => {
      condition = s.condition ? this.#scalar(s.condition) : null;
    });
    const body = this.#collect(() => this.#statements(s.body, false));
    const update = this.#collect(() => {
      if (s.update) this.#statement(s.update, false);
    });
    this.#loops.pop();
    if (before.length > 0 && condition) {
      // A condition that needs statements is tested inside.
      body.unshift(...before, {
        op: "if",
        condition,
        then: [],
        else: [{ op: "exit", label }],
      });
      condition = null;
    }
    this.#emit({ op: "loop", label, next, condition, body, update });
    return true;
  }

  #loop(s: Statement & { op: "loop" }): boolean {
    const label = this.#labels++, next = this.#labels++;
    this.#loops.push({ label, next });
    const body = this.#collect(() => this.#statements(s.body, false));
    const update = this.#collect(() => {
      this.#statements(s.continuing, false);
      if (s.breakIf) {
        const condition = this.#scalar(s.breakIf);
        this.#emit({
          op: "if",
          condition,
          then: [{ op: "exit", label }],
          else: [],
        });
      }
    });
    this.#loops.pop();
    this.#emit({ op: "loop", label, next, condition: null, body, update });
    return true;
  }

  /** The values that the counter of a loop takes, if they are known and few enough. */
  #countsOf(
    s: Statement & { op: "for" },
  ): { variable: Variable; values: number[] } | null {
    const { init, condition, update } = s;
    if (init?.op !== "declare" || init.variable.kind !== "var") return null;
    const { variable } = init;
    if (variable.type.kind !== "scalar" || variable.type.scalar === "bool") {
      return null;
    }
    const isCounter = (e: Expression) =>
      e.op === "variable" && e.variable === variable;
    if (
      condition?.op !== "binary" || !isCounter(condition.left) ||
      update?.op !== "assign" || !isCounter(update.target) ||
      !["+", "-", "*", "<<", ">>", "/"].includes(update.operator ?? "") ||
      mentions(condition.right, variable) || mentions(update.value, variable) ||
      changes(s.body, variable)
    ) return null;
    const known = (e: Expression): Expr | null => {
      let value: Value | null = null;
      const inner = this.#collect(() => {
        value = this.#value(e);
      });
      return inner.length === 0 && value && (value as Expr).op === "const"
        ? value
        : null;
    };
    let at = init.value
      ? known(init.value)
      : constant(shapeOf(variable.type), 0);
    const bound = known(condition.right), step = known(update.value);
    if (!at || !bound || !step) return null;
    const values: number[] = [];
    const most = Math.min(
      UNROLLED_ROUNDS,
      Math.floor(UNROLLED_NODES / Math.max(1, sizeOf(s.body))),
    );
    while (isConst(binary(BINARY[condition.operator], at, bound), 1)) {
      if (values.length >= most || at.op !== "const") return null;
      values.push(at.values[0]!);
      at = binary(BINARY[update.operator!], at, step);
    }
    return { variable, values };
  }
}

/** Builtins whose expansion uses their argument once. */
function cheap(name: string): boolean {
  return ![
    "sign",
    "fract",
    "degrees",
    "normalize",
    "length",
    "saturate",
    "inverseSqrt",
  ]
    .includes(name) && !name.startsWith("pack") && !name.startsWith("unpack");
}

/** Elements of an array that goes on to the end of its buffer. */
function lengthOf(place: Place & { at: "memory" }, stride: number): Expr {
  const { memory, offset } = place;
  return { op: "length", shape: U32, memory, offset, stride };
}

function addressOf(place: Place & { at: "memory" }): Address {
  const { memory, index, stride, offset } = place;
  return { memory, index, stride, offset };
}

function part(value: Value, i: number): Value {
  if (value.op !== "parts") throw new TypeError("parts expected");
  return value.parts[i]!;
}

/** The part with a number that is not known before the kernel runs; the last one past the end. */
function choose(value: Value, index: Expr): Value {
  if (value.op !== "parts") throw new TypeError("parts expected");
  const pick = (parts: readonly Value[]): Value => {
    const [first] = parts;
    if (first!.op === "parts") {
      return {
        op: "parts",
        parts: first!.parts.map((_, i) => pick(parts.map((p) => part(p, i)))),
      };
    }
    let result = parts.at(-1) as Expr;
    for (let i = parts.length - 2; i >= 0; i--) {
      result = select(
        binary("eq", index, u32(i)),
        parts[i] as Expr,
        result,
      );
    }
    return result;
  };
  return pick(value.parts);
}

/** Where part `i` of a struct or an array in memory begins. */
function inside(type: Type, i: number, offset: number): { offset: number } {
  if (type.kind === "struct") {
    return { offset: offset + type.members[i]!.offset };
  }
  if (type.kind === "array") return { offset: offset + i * type.stride };
  throw new TypeError(`A ${type.kind} has no parts`);
}

/** The variable that a place is a part of. */
function rootOf(e: Expression): Variable | null {
  switch (e.op) {
    case "variable":
      return e.variable;
    case "member":
    case "index":
    case "swizzle":
      return rootOf(e.base);
    case "deref":
      return e.pointer.op === "address" ? rootOf(e.pointer.place) : null;
    default:
      return null;
  }
}

/** What an entry point is told. */
function told(
  name: InvocationBuiltin,
  size: readonly [number, number, number],
): Expr {
  const input = (input: Input): Expr => ({ op: "input", shape: U32, input });
  const axes = ["x", "y", "z"] as const;
  const local = axes.map((axis, i) =>
    size[i] === 1 ? u32(0) : input(`local_${axis}`)
  );
  const group = axes.map((axis) => input(`group_${axis}`));
  switch (name) {
    case "local_invocation_id":
      return join(local);
    case "local_invocation_index":
      return binary(
        "add",
        local[0]!,
        binary(
          "mul",
          binary("add", local[1]!, binary("mul", local[2]!, u32(size[1]))),
          u32(size[0]),
        ),
      );
    case "workgroup_id":
      return join(group);
    case "num_workgroups":
      return join(axes.map((axis) => input(`groups_${axis}`)));
    case "global_invocation_id":
      return join(
        group.map((g, i) =>
          binary("add", binary("mul", g, u32(size[i]!)), local[i]!)
        ),
      );
  }
}

function nextOf(loops: readonly { next: number }[]): number {
  return loops.findLast((loop) => loop.next >= 0)!.next;
}

/** Whether a break leaves these statements for the loop or switch around them. */
function hasBreak(body: readonly Statement[]): boolean {
  return body.some((s) =>
    s.op === "break" ||
    s.op === "if" && (hasBreak(s.then) || hasBreak(s.else)) ||
    s.op === "block" && hasBreak(s.body)
  );
}

function hasContinue(body: readonly Statement[]): boolean {
  return body.some((s) =>
    s.op === "continue" ||
    s.op === "if" && (hasContinue(s.then) || hasContinue(s.else)) ||
    s.op === "block" && hasContinue(s.body) ||
    s.op === "switch" && s.cases.some((c) => hasContinue(c.body))
  );
}

/** Calls `f` with everything in a tree that is an object with an `op`. */
function walk(node: unknown, f: (node: { op: string }) => void): void {
  if (Array.isArray(node)) { for (const item of node) walk(item, f); }
  else if (typeof node === "object" && node !== null) {
    if ("op" in node) f(node as { op: string });
    for (const [key, value] of Object.entries(node)) {
      if (key !== "type" && key !== "variable" && key !== "function") {
        walk(value, f);
      }
    }
  }
}

/** Whether an expression reads a variable. */
function mentions(e: Expression, variable: Variable): boolean {
  let found = false;
  walk(e, (node) => {
    const inner = node as Expression;
    if (inner.op === "variable" && inner.variable === variable) found = true;
  });
  return found;
}

/** Whether statements assign to a variable or take its address. */
function changes(body: readonly Statement[], variable: Variable): boolean {
  let found = false;
  walk(body, (node) => {
    const s = node as Statement | Expression;
    if (
      s.op === "assign" && rootOf(s.target) === variable ||
      s.op === "address" && rootOf(s.place) === variable
    ) found = true;
  });
  return found;
}

/** Nodes of statements, those of called functions included. */
function sizeOf(body: readonly Statement[]): number {
  let size = 0;
  walk(body, (node) => {
    size++;
    const e = node as Expression;
    if (e.op === "call") size += sizeOf(e.function.body);
  });
  return size;
}
