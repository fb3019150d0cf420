import {
  type FunctionBuilder,
  hasRelaxedSimd,
  ModuleBuilder,
  type WasmType,
} from "../../wgsl/wasm.ts";
import { OPCODES } from "../../wgsl/wasm_opcodes.ts";

// deno-lint-ignore no-explicit-any -- exports have no types known here
type Exports = Record<string, any>;

function assertEqual(got: unknown, want: unknown, what = "value"): void {
  if (!Object.is(got, want)) {
    throw new Error(`${what}: got ${got}, want ${want}`);
  }
}

function assertThrows(run: () => unknown, message: string): void {
  try {
    run();
  } catch (error) {
    if ((error as Error).message.includes(message)) return;
    throw error;
  }
  throw new Error(`Expected an error with "${message}"`);
}

/** Compiles and instantiates over one page of shared memory. */
async function instantiate(
  module: ModuleBuilder,
): Promise<{ exports: Exports; memory: WebAssembly.Memory }> {
  const memory = new WebAssembly.Memory({
    initial: 1,
    maximum: 65536,
    shared: true,
  });
  const { instance } = await WebAssembly.instantiate(module.finish(), {
    env: { memory },
  });
  return { exports: instance.exports, memory };
}

/** A module of one exported function `f`. */
function single(
  params: readonly WasmType[],
  results: readonly WasmType[],
  write: (fn: FunctionBuilder) => void,
): ModuleBuilder {
  const module = new ModuleBuilder({ shared: true });
  const fn = module.function("f", params, results);
  write(fn);
  module.export("f", fn);
  return module;
}

/** Writes one instruction with the smallest immediates, and its operands from the parameters. */
function writeOne(fn: FunctionBuilder, name: string): void {
  fn.params.forEach((_, i) => fn.get(i));
  const opcode = OPCODES.get(name)!;
  switch (opcode.immediate) {
    case "none":
      return void fn.op(name);
    case "lane":
      return void fn.lane(name, 1);
    case "shuffle":
      return void fn.shuffle(Array.from({ length: 16 }, (_, i) => 2 * i));
    case "memory":
      return void (name.includes("atomic")
        ? fn.atomic(name, 16)
        : name.includes("store")
        ? fn.store(name, 1000)
        : fn.load(name, 1000));
    case "memoryLane":
      return void (name.includes("store")
        ? fn.storeLane(name, 1, 1000)
        : fn.loadLane(name, 1, 1000));
  }
}

Deno.test("OPCODES validate with the operands that they declare", () => {
  const polymorphic = new Set(["drop", "select", "return", "unreachable"]);
  for (const [name, { params, results, relaxed }] of OPCODES) {
    if (polymorphic.has(name) || relaxed && !hasRelaxedSimd()) continue;
    const bytes = single(params, results, (fn) => writeOne(fn, name)).finish();
    try {
      new WebAssembly.Module(bytes);
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}`);
    }
    // a wrong result type must not validate, or the check above would be empty
    const wrong = results[0] === "f64" ? "i32" : "f64";
    const other = single(params, [wrong], (fn) => writeOne(fn, name));
    assertEqual(WebAssembly.validate(other.finish()), false, name);
  }
});

Deno.test("OPCODES have the codes of the specification", () => {
  const known: Record<string, number[]> = { // one from each end of each group
    "i32.load": [0x28],
    "i64.store32": [0x3e],
    "memory.grow": [0x40, 0],
    "i32.ge_u": [0x4f],
    "i64.ge_u": [0x5a],
    "f32.ge": [0x60],
    "f64.ge": [0x66],
    "i32.rotr": [0x78],
    "i64.rotr": [0x8a],
    "f32.copysign": [0x98],
    "f64.copysign": [0xa6],
    "f64.reinterpret_i64": [0xbf],
    "i64.extend32_s": [0xc4],
    "i64.trunc_sat_f64_u": [0xfc, 7],
    "memory.fill": [0xfc, 11, 0],
    "v128.load64_splat": [0xfd, 10],
    "f64x2.replace_lane": [0xfd, 34],
    "f64x2.ge": [0xfd, 76],
    "v128.store64_lane": [0xfd, 91],
    "i16x8.extmul_high_i8x16_u": [0xfd, 0x9f, 1],
    "i32x4.extmul_high_i16x8_u": [0xfd, 0xbf, 1],
    "i64x2.extmul_high_i32x4_u": [0xfd, 0xdf, 1],
    "f64x2.pmax": [0xfd, 0xf7, 1],
    "f64x2.convert_low_i32x4_u": [0xfd, 0xff, 1],
    "f32x4.relaxed_madd": [0xfd, 0x85, 2],
    "i32x4.relaxed_dot_i8x16_i7x16_add_s": [0xfd, 0x93, 2],
    "i64.atomic.rmw32.cmpxchg_u": [0xfe, 0x4e],
  };
  for (const [name, bytes] of Object.entries(known)) {
    assertEqual(OPCODES.get(name)!.bytes.join(), bytes.join(), name);
  }
  assertEqual(
    new Set([...OPCODES.values()].map((o) => o.bytes.join())).size,
    490,
  );
});

Deno.test("FunctionBuilder.op() writes the polymorphic instructions", async () => {
  for (const type of ["i32", "i64", "f32", "f64", "v128"] as const) {
    const module = single([type, type, "i32"], [type], (fn) => {
      fn.get(0).get(1).get(2).op("select").op("return").op("unreachable");
    });
    assertEqual(WebAssembly.validate(module.finish()), true, type);
  }
  const { exports } = await instantiate(
    single(["f32", "i32"], ["f32"], (fn) => {
      fn.get(0).get(1).op("drop");
    }),
  );
  assertEqual(exports.f(1.5, 2), 1.5);
});

Deno.test("FunctionBuilder encodes constants exactly", async () => {
  const module = new ModuleBuilder({ shared: true });
  const constant = (
    name: string,
    type: WasmType,
    write: (fn: FunctionBuilder) => void,
  ) => {
    const fn = module.function(name, [], [type]);
    write(fn);
    module.export(name, fn);
  };
  const i32s = [0, 1, -1, 63, 64, -64, -65, 127, 128, 8191, 8192, -8192, -8193];
  for (let bit = 0; bit < 32; bit++) i32s.push(2 ** bit, -(2 ** bit) | 0);
  i32s.push(2 ** 31 - 1, 2 ** 32 - 1, -(2 ** 31));
  i32s.forEach((v, i) => constant(`i32 ${i}`, "i32", (fn) => fn.i32(v)));
  const i64s: bigint[] = [0n, -1n, 63n, 64n, -64n, -65n, 2n ** 64n - 1n];
  for (let bit = 0n; bit < 64n; bit++) i64s.push(1n << bit, -(1n << bit));
  i64s.forEach((v, i) => constant(`i64 ${i}`, "i64", (fn) => fn.i64(v)));
  constant("i64 number", "i64", (fn) => fn.i64(-(2 ** 40)));
  const f64s = [0, -0, 0.1, -1e300, 5e-324, Infinity, -Infinity, NaN];
  f64s.forEach((v, i) => constant(`f64 ${i}`, "f64", (fn) => fn.f64(v)));
  f64s.forEach((v, i) => constant(`f32 ${i}`, "f32", (fn) => fn.f32(v)));
  const payloads = [0x7fa00001, 0xffc12345, 0x7fc00000, 0x80000001];
  payloads.forEach((bits, i) =>
    constant(
      `bits ${i}`,
      "i32",
      (fn) => fn.f32Bits(bits).op("i32.reinterpret_f32"),
    )
  );
  for (let lane = 0; lane < 4; lane++) {
    constant(
      `v128F32 ${lane}`,
      "f32",
      (fn) => fn.v128F32(0.5, -0, Infinity, 3).lane("f32x4.extract_lane", lane),
    );
    constant(
      `v128I32 ${lane}`,
      "i32",
      (fn) => fn.v128I32(1, -1, 0xffffffff, 7).lane("i32x4.extract_lane", lane),
    );
  }
  const bytes = Array.from({ length: 16 }, (_, i) => 17 * i);
  constant(
    "v128",
    "i32",
    (fn) => fn.v128(bytes).lane("i8x16.extract_lane_u", 11),
  );
  constant(
    "splat",
    "f32",
    (fn) => fn.v128F32(2.5).lane("f32x4.extract_lane", 3),
  );

  const { exports } = await instantiate(module);
  i32s.forEach((v, i) => assertEqual(exports[`i32 ${i}`](), v | 0));
  i64s.forEach((v, i) =>
    assertEqual(exports[`i64 ${i}`](), BigInt.asIntN(64, v))
  );
  assertEqual(exports["i64 number"](), -(2n ** 40n));
  f64s.forEach((v, i) => assertEqual(exports[`f64 ${i}`](), v));
  f64s.forEach((v, i) => assertEqual(exports[`f32 ${i}`](), Math.fround(v)));
  payloads.forEach((v, i) => assertEqual(exports[`bits ${i}`](), v | 0));
  [0.5, -0, Infinity, 3].forEach((v, i) =>
    assertEqual(exports[`v128F32 ${i}`](), v)
  );
  [1, -1, -1, 7].forEach((v, i) => assertEqual(exports[`v128I32 ${i}`](), v));
  assertEqual(exports.v128(), 17 * 11);
  assertEqual(exports.splat(), 2.5);
});

Deno.test("FunctionBuilder computes the depths of branches", async () => {
  // the sum of the odd numbers below n, at most 100: continue and break through an if
  const { exports } = await instantiate(single(["i32"], ["i32"], (fn) => {
    const i = fn.local("i32"), sum = fn.local("i32");
    const done = fn.block();
    const next = fn.loop();
    fn.get(i).get(0).op("i32.ge_u").brIf(done);
    fn.get(i).i32(1).op("i32.add").tee(i).i32(1).op("i32.and");
    fn.if();
    fn.br(next);
    fn.end();
    fn.get(sum).get(i).i32(1).op("i32.sub").op("i32.add").tee(sum);
    fn.i32(100).op("i32.gt_u");
    fn.if();
    fn.i32(100).set(sum);
    fn.br(done);
    fn.end();
    fn.br(next);
    fn.end();
    fn.end();
    fn.get(sum);
  }));
  assertEqual(exports.f(8), 1 + 3 + 5 + 7);
  assertEqual(exports.f(1000), 100);
  assertEqual(exports.f(0), 0);
});

Deno.test("FunctionBuilder.if() has two parts and may give a value", async () => {
  const { exports } = await instantiate(single(["i32"], ["f64"], (fn) => {
    fn.get(0);
    fn.if("f64");
    fn.f64(1.5);
    fn.else().f64(-2).end();
  }));
  assertEqual(exports.f(7), 1.5);
  assertEqual(exports.f(0), -2);
});

Deno.test("FunctionBuilder.brTable() picks a label", async () => {
  const { exports } = await instantiate(single(["i32"], ["i32"], (fn) => {
    const other = fn.block(), two = fn.block(), one = fn.block();
    fn.get(0).brTable([one, two, one], other);
    fn.end().i32(10).op("return");
    fn.end().i32(20).op("return");
    fn.end().i32(30);
  }));
  assertEqual([0, 1, 2, 3, -1].map(exports.f).join(), "10,20,10,30,30");
});

Deno.test("FunctionBuilder.call() reaches functions that are written later", async () => {
  const module = new ModuleBuilder({ shared: true, debug: true });
  const isEven = module.function("isEven", ["i32"], ["i32"]);
  const isOdd = module.function("isOdd", ["i32"], ["i32"]);
  const both = module.function("both", ["i32"], ["i32", "i32"]);
  both.get(0).call(isEven).get(0).call(isOdd);
  for (
    const [fn, other, atZero] of [[isEven, isOdd, 1], [
      isOdd,
      isEven,
      0,
    ]] as const
  ) {
    fn.get(0).op("i32.eqz");
    fn.if("i32");
    fn.i32(atZero);
    fn.else().get(0).i32(1).op("i32.sub").call(other).end();
  }
  module.export("both", both);
  const { exports } = await instantiate(module);
  assertEqual(exports.both(7).join(), "0,1");
  assertEqual(exports.both(10).join(), "1,0");
  // the signature (i32) -> i32 is stored once
  const types = module.finish().slice(8);
  assertEqual(types[2], 2, "types");
});

Deno.test("FunctionBuilder keeps many locals of all types apart", async () => {
  const { exports } = await instantiate(single(["i32"], ["f64"], (fn) => {
    const types = ["i32", "f32", "f64", "i64", "v128"] as const;
    const locals = Array.from({ length: 400 }, (_, i) => {
      const type = types[i % 5]!;
      const local = fn.local(type);
      assertEqual(fn.typeOf(local), type);
      if (type === "i32") fn.i32(i);
      if (type === "i64") fn.i64(i);
      if (type === "f32") fn.f32(i);
      if (type === "f64") fn.f64(i);
      if (type === "v128") fn.v128F32(0, i, 0, 0);
      fn.set(local);
      return local;
    });
    assertEqual(locals[399], 400); // after the parameter
    fn.f64(0);
    for (const [i, local] of locals.entries()) {
      const type = types[i % 5]!;
      fn.get(local);
      if (type === "v128") fn.lane("f32x4.extract_lane", 1);
      if (type === "i32") fn.op("f64.convert_i32_s");
      if (type === "i64") fn.op("f64.convert_i64_s");
      if (type === "f32" || type === "v128") fn.op("f64.promote_f32");
      fn.op("f64.add");
    }
  }));
  assertEqual(exports.f(0), 399 * 400 / 2);
});

Deno.test("FunctionBuilder.free() lets locals be reused by type", () => {
  const fn = new ModuleBuilder({ shared: true }).function("f", ["f32"], []);
  const a = fn.local("i32"), b = fn.local("v128");
  fn.free(a);
  assertEqual(fn.local("v128"), b + 1);
  assertEqual(fn.local("i32"), a);
  assertEqual(fn.local("i32"), b + 2);
  fn.free(b);
  assertThrows(() => fn.free(b), "free already");
});

Deno.test("ModuleBuilder.finish() encodes large bodies and many functions", async () => {
  const module = new ModuleBuilder({ shared: true });
  const long = module.function("long", ["i32"], ["i32"]);
  long.get(0);
  for (let i = 0; i < 50_000; i++) long.i32(3).op("i32.add");
  module.export("long", long);
  let last = long;
  for (let i = 0; i < 300; i++) {
    const fn = module.function(`f${i}`, ["i32"], ["i32"]);
    last = fn.get(0).call(last);
  }
  module.export("last", last);
  const { exports } = await instantiate(module);
  assertEqual(exports.long(5), 150_005);
  assertEqual(exports.last(7), 150_007);
});

Deno.test("FunctionBuilder reads and writes memory", async () => {
  const { exports, memory } = await instantiate(
    single(["i32"], ["i32"], (fn) => {
      fn.get(0).f32(1.5).store("f32.store", 4);
      fn.get(0).v128I32(1, 2, 3, 4).store("v128.store", 200);
      fn.get(0).get(0).load("v128.load", 200, 4);
      fn.storeLane("v128.store32_lane", 2, 8);
      fn.get(0).i32(1000).op("i32.add").get(0).i32(16).memoryCopy();
      fn.get(0).i32(0xab).i32(3).memoryFill();
      fn.get(0).i32(5).atomic("i32.atomic.rmw.add", 200).op("drop");
      fn.atomic("atomic.fence");
      fn.get(0).v128I32(0).loadLane("v128.load32_lane", 3, 200);
      fn.lane("i32x4.extract_lane", 3);
    }),
  );
  assertEqual(exports.f(64), 6);
  const view = new DataView(memory.buffer);
  assertEqual(view.getFloat32(68, true), 1.5);
  assertEqual(view.getInt32(72, true), 3);
  assertEqual(view.getFloat32(1068, true), 1.5);
  assertEqual(view.getUint32(64, true), 0x00ababab);
});

Deno.test("FunctionBuilder names what is wrong", () => {
  const module = new ModuleBuilder({ shared: true });
  const fn = module.function("twice", [], []);
  assertThrows(() => fn.op("i32.plus"), "no instruction i32.plus");
  assertThrows(() => fn.op("i32.load"), "kind memory, not none");
  assertThrows(() => fn.get(0), "Cannot encode function twice");
  assertThrows(() => fn.v128([1]), "16 bytes");
  assertThrows(() => fn.end(), "nothing to end");
  const block = fn.block();
  assertThrows(() => fn.else(), "in an if");
  assertThrows(() => module.finish(), "blocks must be ended");
  fn.end();
  assertThrows(() => fn.br(block), "must be open");
  const other = new ModuleBuilder({ shared: true });
  assertThrows(() => other.export("f", fn), "belong to this module");
});

Deno.test("ModuleBuilder imports shared or plain memory", () => {
  for (const shared of [true, false]) {
    const module = new ModuleBuilder({ shared, maximumPages: 300 });
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 300, shared });
    new WebAssembly.Instance(new WebAssembly.Module(module.finish()), {
      env: { memory },
    });
  }
});
