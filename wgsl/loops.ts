/**
 * What loops need not do again and again: values that do not change in them are computed before
 * them, and an innermost loop whose indices provably stay in range, by a test before it, runs in a
 * copy that does not limit them.
 *
 * @module
 */
import {
  binary,
  bitcast,
  BOOL,
  constant,
  type Expr,
  exprsOf,
  isConst,
  join,
  keyOf,
  lanesOf,
  type Local,
  type Lowered,
  mapBodies,
  mapExprs,
  offsetOf,
  partsOf,
  read,
  select,
  splat,
  type Stmt,
  U32,
  u32,
  visit,
  visitExpr,
  withParts,
} from "./ir.ts";

type Loop = Stmt & { op: "loop" };

/** Treats all loops of a kernel, inner ones first. */
export function optimize(lowered: Lowered): Lowered {
  return { ...lowered, body: new Optimizer(lowered).body(lowered.body) };
}

class Optimizer {
  #next = 0;
  /** Values of registers that are set once. */
  readonly #single = new Map<Local, Expr>();

  constructor(lowered: Lowered) {
    const counts = new Map<Local, number>();
    visit(lowered.body, (s) => {
      const local = s.op === "set"
        ? s.local
        : s.op === "atomic"
        ? s.result
        : null;
      if (!local) return;
      this.#next = Math.max(this.#next, local.id + 1);
      counts.set(local, (counts.get(local) ?? 0) + 1);
      if (s.op === "set") this.#single.set(local, s.value);
      else counts.set(local, 2);
    });
    for (const [local, count] of counts) {
      if (count > 1) this.#single.delete(local);
    }
  }

  body(body: readonly Stmt[]): readonly Stmt[] {
    return body.flatMap((s) => {
      const inner = mapBodies(s, (body) => this.body(body));
      return inner.op === "loop" ? this.#loop(inner) : [inner];
    });
  }

  #loop(loop: Loop): Stmt[] {
    const { before, loop: hoisted } = this.#hoist(loop);
    const innermost = !contains(loop, "loop") && !contains(loop, "barrier");
    return [...before, ...innermost ? this.#proven(hoisted) : [hoisted]];
  }

  // ---- Values that do not change

  #hoist(loop: Loop): { before: Stmt[]; loop: Loop } {
    const assigned = assignedIn([loop]);
    const known = new Map<string, Local>();
    const before: Stmt[] = [];
    const constant = (e: Expr): boolean =>
      (e.op !== "local" || !assigned.has(e.local)) &&
      (e.op !== "load" || e.address.memory.constant) &&
      partsOf(e).every(constant);
    const replace = (e: Expr): Expr => {
      const trivial = e.op === "const" || e.op === "local" ||
        e.op === "input" ||
        e.op === "load" && e.address.memory.space === "uniform";
      if (trivial) return e;
      if (!constant(e)) return withParts(e, partsOf(e).map(replace));
      const key = keyOf(e);
      let local = known.get(key);
      if (!local) {
        local = { id: this.#next++, name: "invariant", shape: e.shape };
        known.set(key, local);
        before.push({ op: "set", local, value: e });
        this.#single.set(local, e);
      }
      return read(local);
    };
    const statement = (s: Stmt): Stmt =>
      mapBodies(mapExprs(s, replace), (body) => body.map(statement));
    return { before, loop: statement(loop) as Loop };
  }

  // ---- Indices that stay in range

  #proven(loop: Loop): Stmt[] {
    const steps = this.#steps(loop);
    const counted = roundsOf(loop, steps);
    if (!counted) return [loop];
    const assigned = assignedIn([loop]);
    const ends = new Map<string, End>();
    for (const [at, s] of [...loop.body, ...loop.update].entries()) {
      visit([s], (inner) => {
        for (const e of exprsOf(inner)) {
          visitExpr(e, (e) => {
            if (e.op !== "limit") return;
            const line = this.#line(e.index, at, steps, assigned);
            const count = this.#line(e.count, at, steps, assigned);
            if (!line || !count || count.steps.size > 0) return;
            // Where it comes twice, the later one may be a step further.
            for (const [local, step] of ends.get(keyOf(e))?.line.steps ?? []) {
              if (step.early) line.steps.set(local, step);
            }
            ends.set(keyOf(e), { index: e.index, line, count: count.first });
          });
        }
      });
    }
    if (ends.size === 0) return [loop];
    // Of indices that differ by constants, the least and the largest are tested.
    const ranges = new Map<string, Range>();
    const proven = new Map<string, Range>();
    for (const [key, end] of ends) {
      const [rest, offset] = offsetOf(end.index);
      const early = [...end.line.steps.values()].map((step) => step.early);
      const near = end.index.shape.width === 1 &&
        Math.abs(offset) < MOST_OFFSET;
      const group = [near && rest ? keyOf(rest) : key, keyOf(end.count), early];
      const range = ranges.get(group.join()) ?? { least: end, most: end };
      if (offset < offsetOf(range.least.index)[1]) range.least = end;
      if (offset > offsetOf(range.most.index)[1]) range.most = end;
      ranges.set(group.join(), range);
      proven.set(key, range);
    }
    const count: Local = { id: this.#next++, name: "rounds", shape: U32 };
    // No rounds need no proof; so many that products of them might overflow get none.
    const few = binary(
      "lt",
      binary("sub", read(count), u32(1)),
      u32(2 ** 28),
    );
    const tests = [...ranges.values()].flatMap(({ least, most }) =>
      (least === most ? [least] : [least, most]).map((end): Covered => ({
        first: end.line.first,
        steps: [...end.line.steps.values()],
        count: end.count,
      }))
    );
    if (counted.ends) tests.push(counted.ends);
    const covers = tests.map((test): Expr => ({
      op: "covers",
      shape: BOOL,
      rounds: read(count),
      ...test,
    }));
    const free = (e: Expr): Expr => {
      if (e.op === "limit" && proven.has(keyOf(e))) return free(e.index);
      const range = e.op === "load" && proven.get(keyOf(e.address.index));
      if (!range) return withParts(e, partsOf(e).map(free));
      // The distance from the least index, which is none before the start, goes into the address.
      const { address } = e as Expr & { op: "load" };
      const { index } = address.index as Expr & { op: "limit" };
      const distance = offsetOf(index)[1] - offsetOf(range.least.index)[1];
      return {
        ...e as Expr & { op: "load" },
        address: {
          ...address,
          index: free(range.least.index),
          offset: address.offset + address.stride * distance,
        },
      };
    };
    const statement = (s: Stmt): Stmt =>
      mapBodies(mapExprs(s, free), (body) => body.map(statement));
    return [{ op: "set", local: count, value: counted.rounds }, {
      op: "if",
      condition: covers.reduce((a, b) => binary("and", a, b), few),
      then: [statement(loop)],
      else: [loop],
    }];
  }

  /** Registers that grow by the same amount in every round, and where in the round they do. */
  #steps(loop: Loop): Map<Local, { by: Expr; at: number }> {
    const assigned = assignedIn([loop]);
    const counts = new Map<Local, number>();
    visit([...loop.body, ...loop.update], (s) => {
      if (s.op === "set") counts.set(s.local, (counts.get(s.local) ?? 0) + 1);
      if (s.op === "atomic" && s.result) counts.set(s.result, 2);
    });
    let skipped = false;
    visit(loop.body, (s) => {
      if (s.op === "exit" && s.label === loop.next) skipped = true;
    });
    const steps = new Map<Local, { by: Expr; at: number }>();
    for (const [at, s] of [...loop.body, ...loop.update].entries()) {
      if (s.op !== "set" || counts.get(s.local) !== 1) continue;
      if (skipped && at < loop.body.length) continue;
      const { value, local } = s;
      if (value.op !== "binary" || local.shape.kind === "f32") continue;
      const isSelf = (e: Expr) => e.op === "local" && e.local === local;
      const fixed = (e: Expr) => isSteady(e, assigned);
      const { left, right } = value;
      let by: Expr | null = null;
      if (value.name === "add" && isSelf(left) && fixed(right)) by = right;
      else if (value.name === "add" && isSelf(right) && fixed(left)) by = left;
      else if (value.name === "sub" && isSelf(left) && fixed(right)) {
        by = binary("sub", constant(right.shape, 0), right);
      }
      if (by) steps.set(local, { by: bitcast(by, "i32"), at });
    }
    return steps;
  }

  /** An integer as its value before the loop, and what each round adds to it; null if it bends. */
  #line(
    e: Expr,
    at: number,
    steps: ReadonlyMap<Local, { by: Expr; at: number }>,
    assigned: ReadonlySet<Local>,
    depth = 0,
  ): Line | null {
    if (isSteady(e, assigned)) return { first: e, steps: new Map() };
    if (depth > 24) return null;
    const line = (e: Expr) => this.#line(e, at, steps, assigned, depth + 1);
    switch (e.op) {
      case "local": {
        const step = steps.get(e.local);
        if (step) {
          const early = at > step.at;
          return {
            first: e,
            steps: new Map([[e.local, { by: step.by, early }]]),
          };
        }
        const value = this.#single.get(e.local);
        return value ? line(value) : null;
      }
      case "binary": {
        const { name, left, right } = e;
        const a = line(left), b = line(right);
        if (!a || !b) return null;
        if (name === "add" || name === "sub") return sum(name, a, b, e);
        if (name === "mul" && b.steps.size === 0) return scaled(a, b.first);
        if (name === "mul" && a.steps.size === 0) return scaled(b, a.first);
        if (name === "shl" && isConst(b.first)) {
          const factor = constant(left.shape, 2 ** (b.first.values[0]! & 31));
          return isConst(b.first, b.first.values[0]) ? scaled(a, factor) : null;
        }
        return null;
      }
      case "bitcast": {
        const a = line(e.value);
        return a && e.value.shape.kind !== "f32"
          ? { ...a, first: bitcast(a.first, e.shape.kind) }
          : null;
      }
      case "lanes": {
        const a = line(e.value);
        return a && mapLine(a, (v) => lanesOf(v, e.lanes));
      }
      case "splat": {
        const a = line(e.value);
        return a && mapLine(a, (v) => splat(v, e.shape.width));
      }
      case "join": {
        const parts = e.parts.map(line);
        if (parts.some((p) => p === null)) return null;
        const all = new Map<Local, { by: Expr; early: boolean }>();
        const zero = constant({ kind: "i32", width: 1 }, 0);
        for (const part of parts) {
          for (const [local, { early }] of part!.steps) {
            const by = join(
              parts.map((p) => p!.steps.get(local)?.by ?? zero),
            );
            all.set(local, {
              by,
              early: early || (all.get(local)?.early ?? false),
            });
          }
        }
        return { first: join(parts.map((p) => p!.first)), steps: all };
      }
      case "select": {
        if (!isSteady(e.condition, assigned)) return null;
        const yes = line(e.yes), no = line(e.no);
        if (!yes || !no) return null;
        const all = new Map<Local, { by: Expr; early: boolean }>();
        for (const [local, { early }] of [...yes.steps, ...no.steps]) {
          const zero = constant({ kind: "i32", width: e.shape.width }, 0);
          all.set(local, {
            by: select(
              e.condition,
              yes.steps.get(local)?.by ?? zero,
              no.steps.get(local)?.by ?? zero,
            ),
            early: early || (all.get(local)?.early ?? false),
          });
        }
        return { first: select(e.condition, yes.first, no.first), steps: all };
      }
      default:
        return null;
    }
  }
}

/** A range that something must stay in for as many rounds as a loop has. */
type Covered = Pick<Expr & { op: "covers" }, "first" | "steps" | "count">;

/** Indices further from zero than this are tested on their own. */
const MOST_OFFSET = 2 ** 16;

/** One of several indices that differ by constants. */
interface End {
  readonly index: Expr;
  readonly line: Line;
  readonly count: Expr;
}

/** The ends of such indices. */
interface Range {
  least: End;
  most: End;
}

/** An integer that changes by the same steps in every round. Steps are i32. */
interface Line {
  readonly first: Expr;
  readonly steps: Map<Local, { by: Expr; early: boolean }>;
}

function mapLine({ first, steps }: Line, f: (e: Expr) => Expr): Line {
  return {
    first: f(first),
    steps: new Map(
      [...steps].map(([local, s]) => [local, { ...s, by: f(s.by) }]),
    ),
  };
}

function scaled(line: Line, factor: Expr): Line {
  return {
    first: binary("mul", line.first, factor),
    steps: new Map(
      [...line.steps].map(([local, s]) => [
        local,
        { ...s, by: binary("mul", s.by, bitcast(factor, "i32")) },
      ]),
    ),
  };
}

function sum(name: "add" | "sub", a: Line, b: Line, e: Expr): Line {
  const steps = new Map(a.steps);
  for (const [local, { by, early }] of b.steps) {
    const old = steps.get(local);
    const zero = constant({ kind: "i32", width: e.shape.width }, 0);
    steps.set(local, {
      by: binary(name, old?.by ?? zero, by),
      early: early || (old?.early ?? false),
    });
  }
  return { first: binary(name, a.first, b.first), steps };
}

/**
 * How often a loop runs, if its condition compares a register that grows steadily; else null. That
 * holds if the register does not grow past the range of its type, which `ends` asks where it could.
 */
function roundsOf(
  loop: Loop,
  steps: ReadonlyMap<Local, { by: Expr; at: number }>,
): { rounds: Expr; ends: Covered | null } | null {
  const { condition } = loop;
  if (condition?.op !== "binary" || condition.left.op !== "local") return null;
  const { name, left, right } = condition;
  const step = steps.get(condition.left.local);
  if (!step || left.shape.width > 1 || left.shape.kind === "bool") return null;
  if (!isSteady(right, assignedIn([loop]))) return null;
  const up = name === "lt" || name === "le";
  const down = name === "gt" || name === "ge";
  if (!up && !down) return null;
  // A step that is not known is taken for one upwards if it is unsigned.
  const { by } = step;
  const sign = isConst(by)
    ? Math.sign(by.values[0]!)
    : left.shape.kind === "u32"
    ? 1
    : 0;
  if (sign !== (up ? 1 : -1)) return null;
  const size = bitcast(
    up ? by : binary("sub", constant(by.shape, 0), by),
    "u32",
  );
  const [from, to] = up ? [left, right] : [right, left];
  const way = bitcast(binary("sub", to, from), "u32");
  const inclusive = name === "le" || name === "ge";
  const rounds = binary(
    "add",
    binary("div", inclusive ? way : binary("sub", way, u32(1)), size),
    u32(1),
  );
  const runs = isConst(by)
    ? condition
    : binary("and", condition, binary("gt", by, constant(by.shape, 0)));
  return {
    rounds: select(runs, rounds, constant(U32, 0)),
    ends: up && !inclusive && isConst(by, 1) ? null : {
      first: left.shape.kind === "u32"
        ? left
        : binary("xor", bitcast(left, "u32"), u32(2 ** 31)),
      steps: [{ by, early: true }],
      count: u32(2 ** 32 - 1),
    },
  };
}

function contains(loop: Loop, op: Stmt["op"]): boolean {
  let found = false;
  visit([...loop.body, ...loop.update], (s) => {
    if (s.op === op) found = true;
  });
  return found;
}

function assignedIn(body: readonly Stmt[]): Set<Local> {
  const assigned = new Set<Local>();
  visit(body, (s) => {
    if (s.op === "set") assigned.add(s.local);
    if (s.op === "atomic" && s.result) assigned.add(s.result);
  });
  return assigned;
}

/** Whether a value is the same in all rounds of a loop that sets these registers. */
function isSteady(e: Expr, assigned: ReadonlySet<Local>): boolean {
  return !(e.op === "local" && assigned.has(e.local)) &&
    !(e.op === "load" && !e.address.memory.constant) &&
    partsOf(e).every((part) => isSteady(part, assigned));
}
