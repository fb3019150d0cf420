/**
 * Four neighbouring invocations at a time: what differs between them becomes four lanes, what they
 * share stays as it is. They are taken to go the same way; where they do not, before any of them
 * has written anything, the four are run one by one instead, and an `if` without further
 * consequences is done under a mask.
 *
 * @module
 */
import {
  type Address,
  binary,
  bitcast,
  bodiesOf,
  constant,
  convert,
  type Expr,
  exprsOf,
  isConst,
  join,
  lanesOf,
  type Local,
  type Lowered,
  partsOf,
  read,
  select,
  splat,
  type Stmt,
  unary,
  visit,
  visitExpr,
} from "./ir.ts";

/** Invocations that go together. */
export const LANES = 4;

/** A kernel for four invocations, of which `local_x` is the first. */
export interface Vectorized {
  readonly body: readonly Stmt[];
  /** Leaving it, the four have to be run one by one. */
  readonly bail: number;
}

/** Thrown where four invocations cannot go together. */
class Apart extends Error {}

const IOTA: Expr = constant({ kind: "u32", width: LANES }, 0, 1, 2, 3);

/**
 * A kernel's body for four invocations at once; null if they cannot go together: barriers, atomics,
 * workgroups whose width four does not divide, or effects before ways part.
 */
export function vectorize(lowered: Lowered): Vectorized | null {
  if (lowered.workgroupSize[0] % LANES !== 0 || lowered.frameBytes > 0) {
    return null;
  }
  let apart = false;
  visit(lowered.body, (s) => {
    if (s.op === "barrier" || s.op === "atomic") apart = true;
  });
  if (apart) return null;
  try {
    return new Vectorizer(lowered).run();
  } catch (error) {
    if (error instanceof Apart) return null;
    throw error;
  }
}

/**
 * Whether a kernel has more arithmetic on single numbers, which four invocations can share, than on
 * vectors, which have their own lanes. What is in loops counts eightfold.
 */
export function prefersLanes(lowered: Lowered): boolean {
  let single = 0, vector = 0;
  const walk = (body: readonly Stmt[], weight: number) => {
    for (const s of body) {
      for (const e of exprsOf(s)) {
        visitExpr(e, ({ op, shape }) => {
          if (op === "const" || op === "local" || op === "input") return;
          if (shape.width > 1) vector += weight;
          else if (shape.kind === "f32") single += weight;
        });
      }
      const inner = s.op === "loop" ? 8 * weight : weight;
      for (const b of bodiesOf(s)) walk(b, inner);
    }
  };
  walk(lowered.body, 1);
  return single > vector;
}

class Vectorizer {
  readonly #lowered: Lowered;
  readonly #varying = new Set<Local>();
  /** By how much registers grow from one invocation to the next; null if by no known number. */
  readonly #strides = new Map<Local, number | null>();
  readonly #assignments = new Map<Local, number>();
  readonly #columns = new Map<Local, Local[]>();
  readonly #bail: number;
  #nextLocal = 0;
  #nextLabel = 0;
  #out: Stmt[] = [];
  /** Lanes that run, inside an `if` that not all may have taken. */
  #mask: Expr | null = null;
  /** Whether something was written that running again would write again. */
  #effects = false;

  constructor(lowered: Lowered) {
    this.#lowered = lowered;
    visit(lowered.body, (s) => {
      if (s.op === "set") {
        const { local } = s;
        this.#nextLocal = Math.max(this.#nextLocal, local.id + 1);
        this.#assignments.set(local, (this.#assignments.get(local) ?? 0) + 1);
      }
      if (s.op === "block") {
        this.#nextLabel = Math.max(this.#nextLabel, s.label + 1);
      }
      if (s.op === "loop") {
        this.#nextLabel = Math.max(this.#nextLabel, s.label + 1, s.next + 1);
      }
    });
    this.#bail = this.#nextLabel++;
    this.#spread();
  }

  run(): Vectorized {
    this.#statements(this.#lowered.body);
    return { body: this.#out, bail: this.#bail };
  }

  // ---- What differs between invocations

  #spread(): void {
    for (let changed = true; changed;) {
      changed = false;
      const mark = (local: Local) => {
        if (this.#varying.has(local)) return;
        this.#varying.add(local);
        changed = true;
      };
      const walk = (body: readonly Stmt[], masked: boolean) => {
        for (const s of body) {
          if (s.op === "set" && (masked || this.#varies(s.value))) {
            mark(s.local);
          }
          const inner = masked ||
            s.op === "if" && this.#varies(s.condition) && !leaves(s);
          for (const b of bodiesOf(s)) walk(b, inner);
        }
      };
      walk(this.#lowered.body, false);
    }
    // Strides: at first every register may have any; assignments rule them out.
    for (let changed = true; changed;) {
      changed = false;
      visit(this.#lowered.body, (s) => {
        if (s.op !== "set" || s.local.shape.width > 1) return;
        if (!this.#varying.has(s.local)) return;
        const found = this.#stride(s.value);
        if (found === undefined) return;
        const old = this.#strides.get(s.local);
        const next = old === undefined || old === found ? found : null;
        if (old !== next) {
          this.#strides.set(s.local, next);
          changed = true;
        }
      });
    }
  }

  readonly #known = new WeakMap<Expr, number>();

  #varies(e: Expr): boolean {
    // Registers only ever become varying, so that a yes stays.
    if (this.#known.get(e) === this.#varying.size) return false;
    if (this.#known.get(e) === -1) return true;
    const yes = e.op === "input"
      ? e.input === "local_x"
      : e.op === "local"
      ? this.#varying.has(e.local)
      : partsOf(e).some((part) => this.#varies(part));
    this.#known.set(e, yes ? -1 : this.#varying.size);
    return yes;
  }

  /** `undefined` where it is not known yet. */
  #stride(e: Expr): number | null | undefined {
    if (!this.#varies(e)) return 0;
    switch (e.op) {
      case "input":
        return 1;
      case "local":
        return this.#strides.has(e.local)
          ? this.#strides.get(e.local)
          : undefined;
      case "bitcast":
        return e.value.shape.kind === "f32" ? null : this.#stride(e.value);
      case "limit":
        return this.#stride(e.index);
      case "lanes":
        return null;
      case "binary": {
        const a = this.#stride(e.left), b = this.#stride(e.right);
        if (a === null || b === null) return null;
        if (a === undefined || b === undefined) return undefined;
        if (e.name === "add") return a + b;
        if (e.name === "sub") return a - b;
        if (e.name === "mul" && isConst(e.right)) return a * e.right.values[0]!;
        if (e.name === "mul" && isConst(e.left)) return b * e.left.values[0]!;
        if (e.name === "shl" && isConst(e.right)) {
          return a * 2 ** (e.right.values[0]! & 31);
        }
        return null;
      }
      default:
        return null;
    }
  }

  // ---- Values

  #local(kind: Expr["shape"]["kind"], width: number, name: string): Local {
    return { id: this.#nextLocal++, name, shape: { kind, width } };
  }

  /** Registers of four lanes for the components of a varying one. */
  #columnsOf(local: Local): Local[] {
    let columns = this.#columns.get(local);
    if (!columns) {
      const { kind, width } = local.shape;
      columns = Array.from(
        { length: width },
        (_, i) => this.#local(kind, LANES, `${local.name}_${i}`),
      );
      for (const column of columns) {
        this.#assignments.set(column, this.#assignments.get(local) ?? 1);
      }
      this.#columns.set(local, columns);
    }
    return columns;
  }

  #emit(s: Stmt): void {
    this.#out.push(s);
  }

  /** Whether a register is assigned to more than once. */
  #changes(local: Local): boolean {
    return (this.#assignments.get(local) ?? 1) > 1;
  }

  /** A value that is used again, when what it was made of may have changed. */
  #keep(e: Expr, name: string): Expr {
    if (e.op === "const" || e.op === "local" && !this.#changes(e.local)) {
      return e;
    }
    const local = this.#local(e.shape.kind, e.shape.width, name);
    this.#emit({ op: "set", local, value: e });
    return read(local);
  }

  /** What all four share. */
  #shared(e: Expr): Expr {
    if (this.#varies(e)) throw new Apart();
    return e;
  }

  /** The components of a value, each in four lanes. */
  #value(e: Expr): Expr[] {
    const { kind, width } = e.shape;
    if (!this.#varies(e)) {
      return Array.from(
        { length: width },
        (_, i) => splat(lanesOf(e, [i]), LANES),
      );
    }
    const zip = (f: (...parts: Expr[]) => Expr, ...values: Expr[]) => {
      const columns = values.map((v) => this.#value(v));
      return Array.from(
        { length: width },
        (_, i) => f(...columns.map((c) => c[c.length === 1 ? 0 : i]!)),
      );
    };
    switch (e.op) {
      case "input":
        return [
          binary("add", splat(e, LANES), IOTA),
        ];
      case "local":
        return this.#columnsOf(e.local).map(read);
      case "load":
        return this.#load(e);
      case "limit":
        return [
          binary(
            "min",
            this.#value(e.index)[0]!,
            binary(
              "sub",
              this.#value(e.count)[0]!,
              constant({ kind: "u32", width: LANES }, 1),
            ),
          ),
        ];
      case "unary": {
        const parts = this.#value(e.value);
        if (e.name === "all" || e.name === "any") {
          const op = e.name === "all" ? "and" : "or";
          return [parts.reduce((a, b) => binary(op, a, b))];
        }
        if (e.name === "pack2x16float" || e.name === "unpack2x16float") {
          throw new Apart();
        }
        return parts.map((part) => unary(e.name, part));
      }
      case "binary":
        return zip((a, b) => binary(e.name, a, b), e.left, e.right);
      case "fma":
        return zip(
          (a, b, c) => ({ op: "fma", shape: a.shape, a, b, c }),
          e.a,
          e.b,
          e.c,
        );
      case "select": {
        const condition = this.#value(e.condition);
        const kept = condition.length < width
          ? [this.#keep(condition[0]!, "condition")]
          : condition;
        const yes = this.#value(e.yes), no = this.#value(e.no);
        return yes.map((y, i) =>
          select(kept[kept.length === 1 ? 0 : i]!, y, no[i]!)
        );
      }
      case "splat": {
        const value = this.#keep(this.#value(e.value)[0]!, "spread");
        return Array(width).fill(value);
      }
      case "lanes": {
        const parts = this.#value(e.value);
        const kept = new Map<number, Expr>();
        for (const lane of new Set(e.lanes)) {
          const uses = e.lanes.filter((l) => l === lane).length;
          kept.set(
            lane,
            uses > 1 ? this.#keep(parts[lane]!, "lane") : parts[lane]!,
          );
        }
        return e.lanes.map((lane) => kept.get(lane)!);
      }
      case "join":
        return e.parts.map((part) => this.#value(part)[0]!);
      case "convert":
        return this.#value(e.value).map((part) => convert(part, kind));
      case "bitcast":
        return this.#value(e.value).map((part) => bitcast(part, kind));
      default:
        throw new Apart();
    }
  }

  /** The address of invocation `lane`, from the four indices. */
  #addressOf(address: Address, index: Expr, lane: number): Address {
    return { ...address, index: lanesOf(index, [lane]) };
  }

  /**
   * Whether four elements lie side by side, as a test at run time; null if they cannot. `index` are
   * the four, already limited; `of` is what they came from.
   */
  #adjacent(of: Expr, index: Expr): Expr | null {
    const stride = this.#stride(of);
    if (typeof stride === "number" && stride !== 1) return null;
    const first = splat(lanesOf(index, [0]), LANES);
    return unary("all", binary("eq", index, binary("add", first, IOTA)));
  }

  #load(e: Expr & { op: "load" }): Expr[] {
    const { address, shape } = e;
    const index = this.#keep(this.#value(address.index)[0]!, "index");
    const columns = Array.from(
      { length: shape.width },
      () => this.#local(shape.kind, LANES, "loaded"),
    );
    const one = (lane: number, component: number): Expr => ({
      op: "load",
      shape: { kind: shape.kind, width: 1 },
      address: {
        ...this.#addressOf(address, index, lane),
        offset: address.offset + 4 * component,
      },
    });
    const gathered: Stmt[] = columns.map((local, component) => ({
      op: "set",
      local,
      value: join([0, 1, 2, 3].map((lane) => one(lane, component))),
    }));
    const adjacent = shape.width === 1 && address.stride === 4
      ? this.#adjacent(address.index, index)
      : null;
    if (!adjacent) { for (const s of gathered) this.#emit(s); }
    else {
      this.#emit({
        op: "if",
        condition: adjacent,
        then: [{
          op: "set",
          local: columns[0]!,
          value: {
            op: "load",
            shape: { kind: shape.kind, width: LANES },
            address: this.#addressOf(address, index, 0),
          },
        }],
        else: gathered,
      });
    }
    return columns.map(read);
  }

  // ---- Statements

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

  #statements(body: readonly Stmt[]): void {
    for (const s of body) this.#statement(s);
  }

  #statement(s: Stmt): void {
    switch (s.op) {
      case "set": {
        if (!this.#varying.has(s.local)) {
          this.#emit({ ...s, value: this.#shared(s.value) });
          return;
        }
        const columns = this.#columnsOf(s.local);
        const once = this.#assignments.get(s.local) === 1;
        let values = this.#value(s.value);
        // Parts that are read while others are set.
        if (values.length > 1) {
          values = values.map((v) => this.#keep(v, "part"));
        }
        for (const [i, local] of columns.entries()) {
          const value = this.#mask && !once
            ? select(this.#mask, values[i]!, read(local))
            : values[i]!;
          this.#emit({ op: "set", local, value });
        }
        return;
      }
      case "store":
        return this.#store(s.address, s.value);
      case "if":
        return this.#if(s);
      case "loop":
        return this.#loop(s);
      case "block":
        this.#emit({
          ...s,
          body: this.#collect(() => this.#statements(s.body)),
        });
        return;
      case "exit":
        if (this.#mask) throw new Apart();
        this.#emit(s);
        return;
      default:
        throw new Apart();
    }
  }

  #store(address: Address, value: Expr): void {
    this.#effects = true;
    if (!this.#varies(address.index)) {
      // All four write the same place: the last one wins, as it does one by one.
      throw new Apart();
    }
    const index = this.#keep(this.#value(address.index)[0]!, "index");
    const columns = this.#value(value).map((v) => this.#keep(v, "stored"));
    const mask = this.#mask;
    const single = (lane: number): Stmt => {
      const store: Stmt = {
        op: "store",
        address: this.#addressOf(address, index, lane),
        value: join(columns.map((column) => lanesOf(column, [lane]))),
      };
      return mask
        ? {
          op: "if",
          condition: lanesOf(mask, [lane]),
          then: [store],
          else: [],
        }
        : store;
    };
    const scattered = [0, 1, 2, 3].map(single);
    const adjacent = columns.length === 1 && address.stride === 4
      ? this.#adjacent(address.index, index)
      : null;
    if (!adjacent) { for (const s of scattered) this.#emit(s); }
    else {
      this.#emit({
        op: "if",
        condition: mask
          ? binary("and", adjacent, unary("all", mask))
          : adjacent,
        then: [{
          op: "store",
          address: this.#addressOf(address, index, 0),
          value: columns[0]!,
        }],
        else: scattered,
      });
    }
  }

  /** A condition on which all four agree; where they do not, they go on one by one. */
  #agreed(condition: Expr): Expr {
    if (!this.#varies(condition)) return condition;
    if (this.#mask || this.#effects) throw new Apart();
    const lanes = this.#keep(this.#value(condition)[0]!, "condition");
    const any = this.#keep(unary("any", lanes), "any");
    this.#emit({
      op: "if",
      condition: binary(
        "ne",
        convert(any, "u32"),
        convert(unary("all", lanes), "u32"),
      ),
      then: [{ op: "exit", label: this.#bail }],
      else: [],
    });
    return any;
  }

  #if(s: Stmt & { op: "if" }): void {
    if (!this.#varies(s.condition) || leaves(s)) {
      const condition = this.#agreed(s.condition);
      const before = this.#effects;
      const then = this.#collect(() => this.#statements(s.then));
      const after = this.#effects;
      this.#effects = before;
      const otherwise = this.#collect(() => this.#statements(s.else));
      this.#effects ||= after;
      this.#emit({ op: "if", condition, then, else: otherwise });
      return;
    }
    const outer = this.#mask;
    const lanes = this.#keep(this.#value(s.condition)[0]!, "condition");
    const branch = (mask: Expr, body: readonly Stmt[]) => {
      if (body.length === 0) return;
      const kept = this.#keep(
        outer ? binary("and", outer, mask) : mask,
        "mask",
      );
      this.#mask = kept;
      const inner = this.#collect(() => this.#statements(body));
      this.#mask = outer;
      this.#emit({
        op: "if",
        condition: unary("any", kept),
        then: inner,
        else: [],
      });
    };
    branch(lanes, s.then);
    branch(unary("not", lanes), s.else);
  }

  #loop(s: Stmt & { op: "loop" }): void {
    // What is written in one round is written before the next.
    const before = this.#effects;
    if (writes(s.body) || writes(s.update)) this.#effects = true;
    if (!s.condition || !this.#varies(s.condition)) {
      this.#emit({
        ...s,
        body: this.#collect(() => this.#statements(s.body)),
        update: this.#collect(() => this.#statements(s.update)),
      });
      return;
    }
    if (before !== this.#effects) throw new Apart();
    const body = this.#collect(() => {
      const condition = this.#agreed(s.condition!);
      this.#emit({
        op: "if",
        condition,
        then: [],
        else: [{ op: "exit", label: s.label }],
      });
      this.#statements(s.body);
    });
    const update = this.#collect(() => this.#statements(s.update));
    this.#emit({ ...s, condition: null, body, update });
  }
}

/** Whether a statement leaves one that is around it. */
function leaves(s: Stmt): boolean {
  const inside = new Set<number>();
  let found = false;
  visit([s], (inner) => {
    if (inner.op === "block") inside.add(inner.label);
    if (inner.op === "loop") inside.add(inner.label).add(inner.next);
    if (inner.op === "exit" && !inside.has(inner.label)) found = true;
  });
  return found;
}

function writes(body: readonly Stmt[]): boolean {
  return body.some((s) => s.op === "store" || bodiesOf(s).some(writes));
}
