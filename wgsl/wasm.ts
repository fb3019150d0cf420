/**
 * An encoder of WebAssembly modules: functions over one imported memory, written instruction by
 * instruction. It computes indices, branch depths and lengths; types are left to the engine, which
 * checks them when the module is compiled.
 *
 * @module
 */
import {
  type Immediate,
  type Opcode,
  OPCODES,
  type WasmType,
} from "./wasm_opcodes.ts";

export type { WasmType } from "./wasm_opcodes.ts";

const TYPE_CODES: Record<WasmType, number> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

/** Bytes with room to grow. */
class ByteWriter {
  #bytes = new Uint8Array(64);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  /** Makes room for `count` more bytes and returns where they begin. */
  #grow(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.#bytes.length) {
      const old = this.#bytes;
      this.#bytes = new Uint8Array(Math.max(this.length, 2 * old.length));
      this.#bytes.set(old);
      this.#view = new DataView(this.#bytes.buffer);
    }
    return at;
  }

  byte(value: number): void {
    const at = this.#grow(1); // first, as it may replace #bytes
    this.#bytes[at] = value;
  }

  bytes(values: ArrayLike<number>): void {
    const at = this.#grow(values.length);
    this.#bytes.set(values, at);
  }

  /** Unsigned LEB128 of an integer from 0 to 2^32 - 1. */
  u32(value: number): void {
    while (value >= 128) {
      this.byte(value % 128 + 128);
      value = Math.floor(value / 128);
    }
    this.byte(value);
  }

  /** Signed LEB128 of the low 32 bits of `value`. */
  s32(value: number): void {
    value |= 0;
    while (value < -64 || value > 63) {
      this.byte(value & 127 | 128);
      value >>= 7;
    }
    this.byte(value & 127);
  }

  /** Signed LEB128 of the low 64 bits of `value`. */
  s64(value: bigint): void {
    value = BigInt.asIntN(64, value);
    while (value < -64n || value > 63n) {
      this.byte(Number(value & 127n) | 128);
      value >>= 7n;
    }
    this.byte(Number(value & 127n));
  }

  fixed32(bits: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, bits, true);
  }

  f32(value: number): void {
    const at = this.#grow(4);
    this.#view.setFloat32(at, value, true);
  }

  f64(value: number): void {
    const at = this.#grow(8);
    this.#view.setFloat64(at, value, true);
  }

  /** Length and UTF-8 of a name. */
  name(text: string): void {
    this.sized(new TextEncoder().encode(text));
  }

  /** Length and bytes. */
  sized(values: ArrayLike<number>): void {
    this.u32(values.length);
    this.bytes(values);
  }

  /** A copy of what was written. */
  take(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }

  /** What was written, valid until the next write. */
  peek(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }
}

/** A place that branches go to: the end of a block or an if, the start of a loop. */
export interface Label {
  /** What opened it. */
  readonly kind: "block" | "loop" | "if";
}

/** Options of a module. */
export interface ModuleOptions {
  /** Whether the memory is shared between threads; atomics that wait need one. */
  shared: boolean;
  /** The most pages of 64 KiB that the memory may have, 65536 by default; the import must not allow more. */
  maximumPages?: number;
  /** Whether to add the functions' names for stack traces and profilers, false by default. */
  debug?: boolean;
}

/**
 * A module with the imported memory `"env"."memory"` (at least one page) and any number of
 * functions. They may be written side by side, and called before they are written.
 */
export class ModuleBuilder {
  readonly #options: Required<ModuleOptions>;
  readonly #functions: FunctionBuilder[] = [];
  readonly #exports: { name: string; index: number }[] = [];

  /** An empty module. */
  constructor(options: ModuleOptions) {
    this.#options = { maximumPages: 65536, debug: false, ...options };
  }

  /** Adds a function, to be written through what is returned. Several may have the same name. */
  function(
    name: string,
    params: readonly WasmType[],
    results: readonly WasmType[],
  ): FunctionBuilder {
    const index = this.#functions.length; // nothing imported is a function
    const fn = new FunctionBuilder(name, index, params, results);
    this.#functions.push(fn);
    return fn;
  }

  /** Makes a function visible to the host. */
  export(name: string, fn: FunctionBuilder): void {
    if (this.#functions[fn.index] !== fn) {
      throw new Error(
        `Cannot export ${fn.name} as it must belong to this module`,
      );
    }
    this.#exports.push({ name, index: fn.index });
  }

  /**
   * The binary module.
   *
   * @throws {Error} If a function has open blocks.
   */
  finish(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter();
    out.bytes([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]); // "\0asm", version 1
    const section = (id: number, write: (body: ByteWriter) => void) => {
      const body = new ByteWriter();
      write(body);
      out.byte(id);
      out.sized(body.peek());
    };

    const types = new Map<string, number>(); // signature to its index, in order
    const typeOf = this.#functions.map(({ params, results }) => {
      const key = `${params}:${results}`;
      if (!types.has(key)) types.set(key, types.size);
      return types.get(key)!;
    });
    section(1, (body) => {
      body.u32(types.size);
      for (const key of types.keys()) {
        body.byte(0x60);
        for (const side of key.split(":")) {
          const names = side === "" ? [] : side.split(",") as WasmType[];
          body.sized(names.map((name) => TYPE_CODES[name]));
        }
      }
    });
    section(2, (body) => {
      body.u32(1);
      body.name("env");
      body.name("memory");
      body.byte(2); // a memory
      body.byte(this.#options.shared ? 3 : 1); // with a maximum
      body.u32(1);
      body.u32(this.#options.maximumPages);
    });
    section(3, (body) => {
      body.u32(typeOf.length);
      for (const type of typeOf) body.u32(type);
    });
    section(7, (body) => {
      body.u32(this.#exports.length);
      for (const { name, index } of this.#exports) {
        body.name(name);
        body.byte(0); // a function
        body.u32(index);
      }
    });
    section(10, (body) => {
      body.u32(this.#functions.length);
      for (const fn of this.#functions) body.sized(fn.encode());
    });
    if (this.#options.debug) {
      section(0, (body) => {
        body.name("name");
        const names = new ByteWriter();
        names.u32(this.#functions.length);
        for (const { index, name } of this.#functions) {
          names.u32(index);
          names.name(name);
        }
        body.byte(1); // names of functions
        body.sized(names.peek());
      });
    }
    return out.take();
  }
}

/** The body of one function, written front to back. Most methods return the builder itself. */
export class FunctionBuilder {
  /** The name, for error messages and the debug option. */
  readonly name: string;
  /** The function's index in its module. */
  readonly index: number;
  /** Types of the parameters, which are the first locals. */
  readonly params: readonly WasmType[];
  /** Types of the results. */
  readonly results: readonly WasmType[];
  readonly #locals: WasmType[];
  readonly #free: Record<WasmType, number[]> = {
    i32: [],
    i64: [],
    f32: [],
    f64: [],
    v128: [],
  };
  readonly #code = new ByteWriter();
  readonly #open: Label[] = [];

  /** Made by {@linkcode ModuleBuilder.function}. */
  constructor(
    name: string,
    index: number,
    params: readonly WasmType[],
    results: readonly WasmType[],
  ) {
    this.name = name;
    this.index = index;
    this.params = params;
    this.results = results;
    this.#locals = [...params];
  }

  /**
   * A local variable of the given type: one that was given back, else a new one. A new one starts
   * at zero, a reused one with whatever it held.
   */
  local(type: WasmType): number {
    return this.#free[type].pop() ?? this.#locals.push(type) - 1;
  }

  /** Gives a local back, for {@linkcode FunctionBuilder.local} to hand out again. */
  free(local: number): void {
    const free = this.#free[this.typeOf(local)];
    if (free.includes(local)) this.#fail(`local ${local} is free already`);
    free.push(local);
  }

  /** The type of a local. */
  typeOf(local: number): WasmType {
    return this.#locals[local] ??
      this.#fail(`there is no local ${local} of ${this.#locals.length}`);
  }

  /** Pushes a local. */
  get(local: number): this {
    return this.#local(0x20, local);
  }

  /** Pops into a local. */
  set(local: number): this {
    return this.#local(0x21, local);
  }

  /** Copies the top of the stack into a local. */
  tee(local: number): this {
    return this.#local(0x22, local);
  }

  /** Pushes an integer of 32 bits, signed or unsigned. */
  i32(value: number): this {
    this.#code.byte(0x41);
    this.#code.s32(value);
    return this;
  }

  /** Pushes an integer of 64 bits, signed or unsigned. */
  i64(value: bigint | number): this {
    this.#code.byte(0x42);
    this.#code.s64(BigInt(value));
    return this;
  }

  /** Pushes the f32 nearest to `value`; every NaN is the canonical one. */
  f32(value: number): this {
    this.#code.byte(0x43);
    if (Number.isNaN(value)) this.#code.fixed32(0x7fc00000);
    else this.#code.f32(value);
    return this;
  }

  /** Pushes the f32 with these bits, which keeps the payload of a NaN. */
  f32Bits(bits: number): this {
    this.#code.byte(0x43);
    this.#code.fixed32(bits);
    return this;
  }

  /** Pushes an f64. */
  f64(value: number): this {
    this.#code.byte(0x44);
    this.#code.f64(value);
    return this;
  }

  /** Pushes 16 bytes, the first one lowest. */
  v128(bytes: ArrayLike<number>): this {
    if (bytes.length !== 16) {
      this.#fail(`a v128 must have 16 bytes: it has ${bytes.length}`);
    }
    this.#v128();
    this.#code.bytes(bytes);
    return this;
  }

  /** Pushes four f32 lanes, all of them `a` if it stands alone. */
  v128F32(a: number, b: number = a, c: number = a, d: number = a): this {
    this.#v128();
    for (const lane of [a, b, c, d]) {
      if (Number.isNaN(lane)) this.#code.fixed32(0x7fc00000);
      else this.#code.f32(lane);
    }
    return this;
  }

  /** Pushes four lanes of 32 bits, signed or unsigned, all of them `a` if it stands alone. */
  v128I32(a: number, b: number = a, c: number = a, d: number = a): this {
    this.#v128();
    for (const lane of [a, b, c, d]) this.#code.fixed32(lane);
    return this;
  }

  /** Any instruction without immediates: `i32.add`, `f32x4.relaxed_madd`, `select`, `return`. */
  op(name: string): this {
    this.#opcode(name, "none");
    return this;
  }

  /** An instruction on one lane: `f32x4.extract_lane`, `i32x4.replace_lane`. */
  lane(name: string, lane: number): this {
    this.#opcode(name, "lane");
    this.#code.byte(lane);
    return this;
  }

  /** `i8x16.shuffle`: byte i of the result is byte `lanes[i]` of the two operands side by side. */
  shuffle(lanes: ArrayLike<number>): this {
    if (lanes.length !== 16) {
      this.#fail(`a shuffle must have 16 lanes: it has ${lanes.length}`);
    }
    this.#opcode("i8x16.shuffle", "shuffle");
    this.#code.bytes(lanes);
    return this;
  }

  /**
   * A load at the address on the stack plus `offset`: `f32.load`, `v128.load32_splat`.
   *
   * @param align A promise in bytes, by default as many as are loaded; a broken one is slow, not wrong.
   */
  load(name: string, offset: number = 0, align?: number): this {
    this.#memory(this.#opcode(name, "memory"), offset, align);
    return this;
  }

  /** A store of the value on the stack to the address below it plus `offset`. `align` as for loads. */
  store(name: string, offset: number = 0, align?: number): this {
    return this.load(name, offset, align);
  }

  /** A load into one lane of the vector on the stack: `v128.load32_lane`. Below it is the address. */
  loadLane(
    name: string,
    lane: number,
    offset: number = 0,
    align?: number,
  ): this {
    this.#memory(this.#opcode(name, "memoryLane"), offset, align);
    this.#code.byte(lane);
    return this;
  }

  /** A store of one lane of the vector on the stack: `v128.store32_lane`. Below it is the address. */
  storeLane(
    name: string,
    lane: number,
    offset: number = 0,
    align?: number,
  ): this {
    return this.loadLane(name, lane, offset, align);
  }

  /** An atomic access, which must be aligned: `i32.atomic.rmw.add`, `memory.atomic.wait32`, `atomic.fence`. */
  atomic(name: string, offset: number = 0): this {
    return name === "atomic.fence" ? this.op(name) : this.load(name, offset);
  }

  /** Opens a block, whose label is its end. */
  block(result?: WasmType): Label {
    return this.#enter(0x02, "block", result);
  }

  /** Opens a loop, whose label is its start: it repeats only by a branch. */
  loop(result?: WasmType): Label {
    return this.#enter(0x03, "loop", result);
  }

  /** Pops a condition and opens what runs if it is not zero. The label is its end. */
  if(result?: WasmType): Label {
    return this.#enter(0x04, "if", result);
  }

  /** Ends the first part of an `if` and begins the other. */
  else(): this {
    if (this.#open.at(-1)?.kind !== "if") {
      this.#fail("an else must stand in an if");
    }
    this.#code.byte(0x05);
    return this;
  }

  /** Closes the innermost block, loop or if. */
  end(): this {
    if (!this.#open.pop()) this.#fail("there is nothing to end");
    this.#code.byte(0x0b);
    return this;
  }

  /** Branches to a label. */
  br(label: Label): this {
    this.#code.byte(0x0c);
    this.#code.u32(this.#depth(label));
    return this;
  }

  /** Pops a condition and branches to a label if it is not zero. */
  brIf(label: Label): this {
    this.#code.byte(0x0d);
    this.#code.u32(this.#depth(label));
    return this;
  }

  /** Pops i and branches to `labels[i]`, or to `otherwise` if there are fewer. */
  brTable(labels: readonly Label[], otherwise: Label): this {
    this.#code.byte(0x0e);
    this.#code.u32(labels.length);
    for (const label of labels) this.#code.u32(this.#depth(label));
    this.#code.u32(this.#depth(otherwise));
    return this;
  }

  /** Calls a function of the same module. */
  call(fn: FunctionBuilder): this {
    this.#code.byte(0x10);
    this.#code.u32(fn.index);
    return this;
  }

  /** Pops length, source and destination, in this order, and copies the bytes; they may overlap. */
  memoryCopy(): this {
    return this.op("memory.copy");
  }

  /** Pops length, byte and destination, in this order, and fills. */
  memoryFill(): this {
    return this.op("memory.fill");
  }

  /**
   * The locals and the code, as they stand in a module.
   *
   * @throws {Error} If a block is open.
   */
  encode(): Uint8Array<ArrayBuffer> {
    if (this.#open.length > 0) {
      this.#fail(`${this.#open.length} blocks must be ended`);
    }
    const runs: [type: WasmType, count: number][] = [];
    for (const type of this.#locals.slice(this.params.length)) {
      const last = runs.at(-1);
      if (last?.[0] === type) last[1]++;
      else runs.push([type, 1]);
    }
    const out = new ByteWriter();
    out.u32(runs.length);
    for (const [type, count] of runs) {
      out.u32(count);
      out.byte(TYPE_CODES[type]);
    }
    out.bytes(this.#code.peek());
    out.byte(0x0b);
    return out.peek();
  }

  #local(code: number, local: number): this {
    this.typeOf(local); // exists
    this.#code.byte(code);
    this.#code.u32(local);
    return this;
  }

  #v128(): void {
    this.#code.byte(0xfd);
    this.#code.byte(12);
  }

  #opcode(name: string, immediate: Immediate): Opcode {
    const opcode = OPCODES.get(name);
    if (!opcode) this.#fail(`there is no instruction ${name}`);
    if (opcode.immediate !== immediate) {
      this.#fail(
        `${name} takes an immediate of kind ${opcode.immediate}, not ${immediate}`,
      );
    }
    this.#code.bytes(opcode.bytes);
    return opcode;
  }

  #memory(opcode: Opcode, offset: number, align = opcode.size): void {
    this.#code.u32(31 - Math.clz32(align));
    this.#code.u32(offset);
  }

  #enter(code: number, kind: Label["kind"], result?: WasmType): Label {
    this.#code.byte(code);
    this.#code.byte(result ? TYPE_CODES[result] : 0x40);
    const label = { kind };
    this.#open.push(label);
    return label;
  }

  /** How many labels inside the given one are open. */
  #depth(label: Label): number {
    const at = this.#open.lastIndexOf(label);
    if (at < 0) this.#fail("the label of a branch must be open");
    return this.#open.length - 1 - at;
  }

  #fail(why: string): never {
    throw new Error(`Cannot encode function ${this.name} as ${why}`);
  }
}

let relaxed: boolean | undefined;

/** Whether this runtime has relaxed SIMD (fused multiply-add among it). */
export function hasRelaxedSimd(): boolean {
  if (relaxed === undefined) {
    const module = new ModuleBuilder({ shared: false });
    const fn = module.function("madd", ["v128"], ["v128"]);
    fn.get(0).get(0).get(0).op("f32x4.relaxed_madd");
    relaxed = WebAssembly.validate(module.finish());
  }
  return relaxed;
}
