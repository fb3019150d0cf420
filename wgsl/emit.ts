/**
 * A lowered kernel as a WebAssembly module that runs ranges of workgroups, one invocation after
 * another. Where invocations wait for each other, the code between two barriers is run for all of a
 * workgroup before the next begins.
 *
 * @module
 */
import { fieldKey, type Fixed, ValueEmitter, wasmType } from "./emit_value.ts";
import {
  bodiesOf,
  exprsOf,
  type Input,
  type Local,
  type Lowered,
  type Stmt,
  visit,
  visitExpr,
} from "./ir.ts";
import { LANES, type Vectorized } from "./lanes.ts";
import { MathLibrary } from "./math.ts";
import { type FunctionBuilder, type Label, ModuleBuilder } from "./wasm.ts";

/** The parameters of the exported function. */
const ARGS = 0, FIRST = 1, LAST = 2, SCRATCH = 3;

/** What the machine offers. */
export interface EmitOptions {
  /** Fused multiply-adds. */
  readonly relaxed: boolean;
  /** Memory that several threads share. */
  readonly shared: boolean;
}

/** A module, and the scratch memory that a thread needs for it. */
export interface Emitted {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly scratchBytes: number;
}

const AXES = ["x", "y", "z"] as const;

/**
 * Writes the module of a kernel.
 *
 * @param vector Its form for four invocations at a time, if that is to be used.
 */
export function emit(
  lowered: Lowered,
  vector: Vectorized | null,
  options: EmitOptions,
): Emitted {
  const module = new ModuleBuilder({ shared: options.shared });
  const math = new MathLibrary(module, options.relaxed);
  const f = module.function("run", ["i32", "i32", "i32", "i32"], []);
  module.export("run", f);
  return new KernelEmitter(lowered, vector, options, module, math, f).emit();
}

/** Whether some statement inside waits for the other invocations. */
function waits(body: readonly Stmt[]): boolean {
  return body.some((s) => s.op === "barrier" || bodiesOf(s).some(waits));
}

/** Whether some statement leaves one that is around these. */
function leaves(body: readonly Stmt[]): boolean {
  const inside = new Set<number>();
  let found = false;
  visit(body, (s) => {
    if (s.op === "block") inside.add(s.label);
    if (s.op === "loop") inside.add(s.label).add(s.next);
    if (s.op === "exit" && !inside.has(s.label)) found = true;
  });
  return found;
}

class KernelEmitter {
  readonly #lowered: Lowered;
  readonly #module: ModuleBuilder;
  readonly #f: FunctionBuilder;
  readonly #inputs = {} as Record<Input, number>;
  readonly #used = new Set<Input>();
  readonly #fields = new Map<string, number>();
  readonly #fixed: Fixed;
  readonly #values: ValueEmitter;
  readonly #labels = new Map<number, Label>();
  /** With barriers: where each register that crosses one lies in the invocation's memory. */
  readonly #crossing = new Map<Local, number>();
  readonly #barriers: boolean;
  /** Bytes of one invocation's memory. */
  #frameBytes: number;

  readonly #vector: Vectorized | null;

  constructor(
    lowered: Lowered,
    vector: Vectorized | null,
    options: EmitOptions,
    module: ModuleBuilder,
    math: MathLibrary,
    f: FunctionBuilder,
  ) {
    this.#lowered = lowered;
    this.#vector = vector;
    this.#module = module;
    this.#f = f;
    this.#barriers = waits(lowered.body);
    this.#frameBytes = lowered.frameBytes;
    for (const axis of AXES) {
      for (const what of ["local", "group", "groups"] as const) {
        this.#inputs[`${what}_${axis}`] = f.local("i32");
      }
    }
    this.#fixed = {
      bases: lowered.storage.map(() => f.local("i32")),
      lengths: lowered.storage.map(() => f.local("i32")),
      uniform: f.local("i32"),
      workgroup: f.local("i32"),
      frame: f.local("i32"),
      inputs: this.#inputs,
      fields: this.#fields,
    };
    this.#values = new ValueEmitter(f, math, this.#fixed, options.relaxed);
  }

  emit(): Emitted {
    const { workgroupSize, body, workgroupBytes } = this.#lowered;
    this.#arguments();
    if (this.#barriers) this.#findCrossing(body);
    const invocations = workgroupSize.reduce((a, b) => a * b);
    const f = this.#f;
    f.get(SCRATCH).set(this.#fixed.workgroup);
    f.get(SCRATCH).i32(workgroupBytes).op("i32.add").set(this.#fixed.frame);
    this.#forGroups(() => {
      if (workgroupBytes > 0) {
        f.get(this.#fixed.workgroup).i32(0).i32(workgroupBytes).memoryFill();
      }
      if (this.#barriers) this.#regions(body, true);
      else if (this.#vector) {
        const vector = this.#vector;
        this.#forInvocations(() => this.#four(vector), LANES);
      } else this.#forInvocations(() => this.#statements(body));
    });
    return {
      bytes: this.#module.finish(),
      scratchBytes: workgroupBytes +
        this.#frameBytes * (this.#barriers ? invocations : 1),
    };
  }

  /** Loads what all invocations share: addresses, lengths, parameters, the size of the grid. */
  #arguments(): void {
    const f = this.#f;
    const { bases, lengths, uniform } = this.#fixed;
    visit(this.#lowered.body, (s) => {
      for (const e of exprsOf(s)) {
        visitExpr(e, (e) => {
          if (e.op === "input") this.#used.add(e.input);
        });
      }
    });
    f.get(ARGS).load("i32.load", 12).set(uniform);
    for (const [slot, base] of bases.entries()) {
      f.get(ARGS).load("i32.load", 16 + 8 * slot).set(base);
      f.get(ARGS).load("i32.load", 20 + 8 * slot).set(lengths[slot]!);
    }
    for (const [i, axis] of AXES.entries()) {
      f.get(ARGS).load("i32.load", 4 * i).set(this.#inputs[`groups_${axis}`]);
    }
    this.#loadFields();
  }

  /** Each parameter is read once, before the first workgroup. */
  #loadFields(): void {
    const f = this.#f;
    const loads = new Map<string, Stmt & { op: "set" }>();
    visit(this.#lowered.body, (s) => {
      for (const e of exprsOf(s)) {
        visitExpr(e, (e) => {
          const key = fieldKey(e);
          if (key === null || e.op !== "load" || loads.has(key)) return;
          loads.set(key, {
            op: "set",
            local: { id: -1, name: key, shape: e.shape },
            value: e,
          });
        });
      }
    });
    for (const [key, { value }] of loads) {
      if (value.op !== "load") continue;
      this.#values.load(value.shape, value.address);
      const local = f.local(wasmType(value.shape));
      f.set(local);
      this.#fields.set(key, local);
    }
  }

  /** The loop over workgroups. */
  #forGroups(body: () => void): void {
    const f = this.#f;
    const at = this.#inputs;
    const group = f.local("i32");
    f.get(FIRST).set(group);
    const end = f.block();
    f.get(FIRST).get(LAST).op("i32.ge_u").brIf(end);
    const top = f.loop();
    f.get(group).get(at.groups_x).op("i32.rem_u").set(at.group_x);
    if (this.#used.has("group_y") || this.#used.has("group_z")) {
      f.get(group).get(at.groups_x).op("i32.div_u").set(at.group_z);
      f.get(at.group_z).get(at.groups_y).op("i32.rem_u").set(at.group_y);
      f.get(at.group_z).get(at.groups_y).op("i32.div_u").set(at.group_z);
    }
    body();
    f.get(group).i32(1).op("i32.add").tee(group).get(LAST).op("i32.lt_u");
    f.brIf(top).end().end();
  }

  /** The loops over the invocations of a workgroup. */
  #forInvocations(body: () => void, step = 1, axis = 2): void {
    const f = this.#f;
    if (axis < 0) return body();
    const local = this.#inputs[`local_${AXES[axis]!}`];
    const count = this.#lowered.workgroupSize[axis]!;
    if (count === 1) {
      f.i32(0).set(local);
      return this.#forInvocations(body, step, axis - 1);
    }
    f.i32(0).set(local);
    const top = f.loop();
    this.#forInvocations(body, step, axis - 1);
    f.get(local).i32(axis === 0 ? step : 1).op("i32.add").tee(local);
    f.i32(count).op("i32.lt_u").brIf(top).end();
  }

  /** Four invocations together, or one by one where their ways part. */
  #four({ body, bail }: Vectorized): void {
    const f = this.#f;
    const local = this.#inputs.local_x;
    let parts = false;
    visit(body, (s) => {
      if (s.op === "exit" && s.label === bail) parts = true;
    });
    if (!parts) return this.#statements(body);
    const done = f.block(), apart = f.block();
    this.#labelled(bail, apart, () => this.#statements(body));
    f.br(done).end();
    const end = f.local("i32");
    f.get(local).i32(LANES).op("i32.add").set(end);
    const top = f.loop();
    this.#statements(this.#lowered.body);
    f.get(local).i32(1).op("i32.add").tee(local).get(end).op("i32.lt_u");
    f.brIf(top).end();
    f.get(local).i32(LANES).op("i32.sub").set(local).end();
    f.free(end);
  }

  // ---- Statements of one invocation

  #statements(body: readonly Stmt[]): void {
    for (const s of body) this.#statement(s);
  }

  #labelled(label: number, wasm: Label, body: () => void): void {
    this.#labels.set(label, wasm);
    body();
    this.#labels.delete(label);
  }

  #statement(s: Stmt): void {
    const f = this.#f, values = this.#values;
    switch (s.op) {
      case "set":
        values.value(s.value);
        f.set(values.localOf(s.local));
        return;
      case "store":
        return values.store(s.address, s.value);
      case "if":
        values.value(s.condition);
        f.if();
        this.#statements(s.then);
        if (s.else.length > 0) {
          f.else();
          this.#statements(s.else);
        }
        f.end();
        return;
      case "loop": {
        const end = f.block();
        if (s.condition) {
          values.value(s.condition);
          f.op("i32.eqz").brIf(end);
        }
        const top = f.loop();
        this.#labelled(s.label, end, () => {
          const next = f.block();
          this.#labelled(s.next, next, () => this.#statements(s.body));
          f.end();
          this.#statements(s.update);
        });
        if (s.condition) {
          values.value(s.condition);
          f.brIf(top);
        } else f.br(top);
        f.end().end();
        return;
      }
      case "block": {
        const label = f.block();
        this.#labelled(s.label, label, () => this.#statements(s.body));
        f.end();
        return;
      }
      case "exit":
        f.br(
          this.#ending?.outer.has(s.label)
            ? this.#ending.label
            : this.#labels.get(s.label)!,
        );
        return;
      case "atomic":
        return this.#atomic(s);
      case "barrier":
        throw new TypeError("a barrier inside of a region");
    }
  }

  #atomic(s: Stmt & { op: "atomic" }): void {
    const f = this.#f, values = this.#values;
    const result = s.result ? values.localOf(s.result) : f.local("i32");
    const value = f.local("i32"), at = f.local("i32");
    if (s.value) {
      values.value(s.value);
      f.set(value);
    }
    const offset = values.address(s.address);
    f.set(at);
    switch (s.name) {
      case "load":
        f.get(at).atomic("i32.atomic.load", offset).set(result);
        break;
      case "store":
        f.get(at).get(value).atomic("i32.atomic.store", offset);
        break;
      case "min":
      case "max": {
        // WebAssembly has neither: exchanged until nobody came between.
        const sign = s.result?.shape.kind === "i32" ? "_s" : "_u";
        const compare = `i32.${s.name === "min" ? "lt" : "gt"}${sign}`;
        const wanted = f.local("i32");
        f.get(at).atomic("i32.atomic.load", offset).set(result);
        const top = f.loop();
        f.get(result).set(wanted);
        f.get(at).get(wanted);
        f.get(value).get(wanted).get(value).get(wanted).op(compare);
        f.op("select").atomic("i32.atomic.rmw.cmpxchg", offset).tee(result);
        f.get(wanted).op("i32.ne").brIf(top).end();
        f.free(wanted);
        break;
      }
      default: {
        const name = s.name === "exchange" ? "xchg" : s.name;
        f.get(at).get(value).atomic(`i32.atomic.rmw.${name}`, offset);
        f.set(result);
      }
    }
    f.free(at);
    f.free(value);
    if (!s.result) f.free(result);
  }

  // ---- Barriers

  /**
   * Statements of a whole workgroup: each run of them that does not wait is done for one invocation
   * after another. What waits, or decides whether it is reached, is in uniform control flow, so its
   * conditions are those of any invocation.
   */
  #regions(body: readonly Stmt[], last: boolean): void {
    let region: Stmt[] = [];
    const finish = (atEnd: boolean) => {
      if (region.length > 0) this.#region(region, atEnd);
      region = [];
    };
    const quiet = last ? body.findLastIndex((s) => waits([s])) + 1 : Infinity;
    for (const [i, s] of body.entries()) {
      if (!waits([s]) && (i >= quiet || !leaves([s]))) {
        region.push(s);
        continue;
      }
      finish(false);
      if (s.op !== "barrier") this.#waiting(s, last && i === body.length - 1);
    }
    finish(last);
  }

  #region(body: readonly Stmt[], last: boolean): void {
    const f = this.#f;
    const { locals, assigned } = localsOf(body);
    const crossing = [...locals].filter((l) => this.#crossing.has(l));
    this.#eachFrame(() => {
      for (const local of crossing) this.#restore(local);
      // A return from the last region ends the invocation alone.
      const label = f.block();
      if (last) this.#ending = { label, outer: new Set(this.#labels.keys()) };
      this.#statements(body);
      this.#ending = null;
      f.end();
      for (const local of crossing) {
        if (assigned.has(local)) this.#save(local);
      }
    });
  }

  /** In the last region: what ends an invocation, and the labels whose statements then end too. */
  #ending: { label: Label; outer: ReadonlySet<number> } | null = null;

  #eachFrame(body: () => void): void {
    const f = this.#f;
    const { frame, workgroup } = this.#fixed;
    f.get(workgroup).i32(this.#lowered.workgroupBytes).op("i32.add").set(frame);
    this.#forInvocations(() => {
      body();
      f.get(frame).i32(this.#frameBytes).op("i32.add").set(frame);
    });
    f.get(workgroup).i32(this.#lowered.workgroupBytes).op("i32.add").set(frame);
  }

  #waiting(s: Stmt, last: boolean): void {
    const f = this.#f, values = this.#values;
    // A condition is read from the first invocation's registers.
    const condition = (e: Parameters<typeof values.value>[0]) => {
      visitExpr(e, (e) => {
        if (e.op === "local" && this.#crossing.has(e.local)) {
          this.#restore(e.local);
        }
      });
      for (const axis of AXES) f.i32(0).set(this.#inputs[`local_${axis}`]);
      values.value(e);
    };
    switch (s.op) {
      case "if":
        condition(s.condition);
        f.if();
        this.#regions(s.then, last);
        f.else();
        this.#regions(s.else, last);
        f.end();
        return;
      case "loop": {
        const end = f.block(), top = f.loop();
        if (s.condition) {
          condition(s.condition);
          f.op("i32.eqz").brIf(end);
        }
        this.#labelled(s.label, end, () => {
          const next = f.block();
          this.#labelled(s.next, next, () => this.#regions(s.body, false));
          f.end();
          this.#regions(s.update, false);
        });
        f.br(top).end().end();
        return;
      }
      case "block": {
        const label = f.block();
        this.#labelled(s.label, label, () => this.#regions(s.body, last));
        f.end();
        return;
      }
      case "exit":
        f.br(this.#labels.get(s.label)!);
        return;
      default:
        throw new TypeError(`${s.op} does not wait`);
    }
  }

  #save(local: Local): void {
    const f = this.#f, index = this.#values.localOf(local);
    const type = wasmType(local.shape);
    f.get(this.#fixed.frame).get(index);
    f.store(`${type}.store`, this.#crossing.get(local)!);
  }

  #restore(local: Local): void {
    const f = this.#f, index = this.#values.localOf(local);
    const type = wasmType(local.shape);
    f.get(this.#fixed.frame).load(`${type}.load`, this.#crossing.get(local)!);
    f.set(index);
  }

  /** Gives a place to every register that is used on both sides of a barrier. */
  #findCrossing(body: readonly Stmt[]): void {
    const regions: Set<Local>[] = [];
    const collect = (body: readonly Stmt[]) => {
      let region: Stmt[] = [];
      const finish = () => {
        if (region.length > 0) regions.push(localsOf(region).locals);
        region = [];
      };
      for (const s of body) {
        if (!waits([s]) && !leaves([s])) {
          region.push(s);
          continue;
        }
        finish();
        const own = new Set<Local>();
        for (const e of exprsOf(s)) {
          visitExpr(e, (e) => e.op === "local" && own.add(e.local));
        }
        regions.push(own);
        for (const inner of bodiesOf(s)) collect(inner);
      }
      finish();
    };
    collect(body);
    const seen = new Set<Local>();
    this.#frameBytes = 16 * Math.ceil(this.#frameBytes / 16);
    for (const region of regions) {
      for (const local of region) {
        if (seen.has(local) && !this.#crossing.has(local)) {
          this.#crossing.set(local, this.#frameBytes);
          this.#frameBytes += 16;
        }
      }
      for (const local of region) seen.add(local);
    }
  }
}

/** Registers that statements read or write, and those they write. */
function localsOf(
  body: readonly Stmt[],
): { locals: Set<Local>; assigned: Set<Local> } {
  const locals = new Set<Local>(), assigned = new Set<Local>();
  visit(body, (s) => {
    if (s.op === "set") assigned.add(s.local);
    if (s.op === "atomic" && s.result) assigned.add(s.result);
    for (const e of exprsOf(s)) {
      visitExpr(e, (e) => e.op === "local" && locals.add(e.local));
    }
  });
  for (const local of assigned) locals.add(local);
  return { locals, assigned };
}
