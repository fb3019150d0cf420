/**
 * The instructions of WebAssembly by name: how they are encoded, and what they take and leave.
 * Covers numbers, sign extension, saturating conversion, bulk memory, 128-bit SIMD, relaxed SIMD
 * and atomics. Control flow, locals, calls and constants belong to the encoder (`wasm.ts`).
 *
 * @module
 */

/** The types of values that a function takes, returns and keeps. */
export type WasmType = "i32" | "i64" | "f32" | "f64" | "v128";

/** What follows an instruction's code: nothing, a lane, 16 lanes, a memory place, or a place and a lane. */
export type Immediate = "none" | "lane" | "shuffle" | "memory" | "memoryLane";

/** One instruction. */
export interface Opcode {
  /** Prefix, code, and zeros for memory indices. */
  readonly bytes: Uint8Array;
  /** What the encoder writes after them. */
  readonly immediate: Immediate;
  /** What it takes from the stack, the top last; of polymorphic instructions, none. */
  readonly params: readonly WasmType[];
  /** What it leaves on the stack. */
  readonly results: readonly WasmType[];
  /** Bytes that it moves, and thereby its natural alignment; 0 if it has no memory place. */
  readonly size: number;
  /** Whether it is one of relaxed SIMD, which a runtime may lack. */
  readonly relaxed: boolean;
}

const LETTERS: Record<string, WasmType> = {
  i: "i32",
  l: "i64",
  f: "f32",
  d: "f64",
  v: "v128",
};

const SIMD = 0xfd; // the prefix of vector instructions, relaxed ones from 256

/** Every instruction by its standard name. */
export const OPCODES: ReadonlyMap<string, Opcode> = table();

function table(): Map<string, Opcode> {
  const all = new Map<string, Opcode>();

  /**
   * Adds instructions with consecutive codes and one signature (`iv:v`: takes an i32 and a v128,
   * leaves a v128). A name may state the bytes that it moves, as in `load:4`; `-` skips a code.
   */
  function add(
    prefix: number,
    code: number,
    signature: string,
    names: string,
    immediate: Immediate = "none",
    tail: readonly number[] = [],
  ): void {
    const [params, results] = signature.split(":").map((side) =>
      Array.from(side, (letter) => LETTERS[letter]!)
    );
    for (const entry of names.split(" ")) {
      const at = code++;
      if (entry === "-") continue;
      const [name, size] = entry.split(":");
      const head = prefix === 0
        ? [at]
        : at < 128
        ? [prefix, at]
        : [prefix, at & 127 | 128, at >> 7];
      all.set(name!, {
        bytes: Uint8Array.of(...head, ...tail),
        immediate,
        params: params!,
        results: results!,
        size: Number(size ?? 0),
        relaxed: prefix === SIMD && at >= 256,
      });
    }
  }

  /** `names` with a type before each. */
  const of = (type: string, names: string) =>
    names.replace(/[^ -]\S*/g, (name) => `${type}.${name}`);

  // Numbers
  add(0, 0x00, ":", "unreachable nop");
  add(0, 0x0f, ":", "return");
  add(0, 0x1a, ":", "drop select");
  add(0, 0x3f, ":i", "memory.size", "none", [0]);
  add(0, 0x40, "i:i", "memory.grow", "none", [0]);
  const integerCompare = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u";
  const floatCompare = "eq ne lt gt le ge";
  const integerCount = "clz ctz popcnt";
  const integerBinary =
    "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr";
  const floatUnary = "abs neg ceil floor trunc nearest sqrt";
  const floatBinary = "add sub mul div min max copysign";
  add(0, 0x45, "i:i", "i32.eqz");
  add(0, 0x46, "ii:i", of("i32", integerCompare));
  add(0, 0x50, "l:i", "i64.eqz");
  add(0, 0x51, "ll:i", of("i64", integerCompare));
  add(0, 0x5b, "ff:i", of("f32", floatCompare));
  add(0, 0x61, "dd:i", of("f64", floatCompare));
  add(0, 0x67, "i:i", of("i32", integerCount));
  add(0, 0x6a, "ii:i", of("i32", integerBinary));
  add(0, 0x79, "l:l", of("i64", integerCount));
  add(0, 0x7c, "ll:l", of("i64", integerBinary));
  add(0, 0x8b, "f:f", of("f32", floatUnary));
  add(0, 0x92, "ff:f", of("f32", floatBinary));
  add(0, 0x99, "d:d", of("f64", floatUnary));
  add(0, 0xa0, "dd:d", of("f64", floatBinary));
  add(0, 0xa7, "l:i", "i32.wrap_i64");
  add(0, 0xa8, "f:i", "i32.trunc_f32_s i32.trunc_f32_u");
  add(0, 0xaa, "d:i", "i32.trunc_f64_s i32.trunc_f64_u");
  add(0, 0xac, "i:l", "i64.extend_i32_s i64.extend_i32_u");
  add(0, 0xae, "f:l", "i64.trunc_f32_s i64.trunc_f32_u");
  add(0, 0xb0, "d:l", "i64.trunc_f64_s i64.trunc_f64_u");
  add(0, 0xb2, "i:f", "f32.convert_i32_s f32.convert_i32_u");
  add(0, 0xb4, "l:f", "f32.convert_i64_s f32.convert_i64_u");
  add(0, 0xb6, "d:f", "f32.demote_f64");
  add(0, 0xb7, "i:d", "f64.convert_i32_s f64.convert_i32_u");
  add(0, 0xb9, "l:d", "f64.convert_i64_s f64.convert_i64_u");
  add(0, 0xbb, "f:d", "f64.promote_f32");
  add(0, 0xbc, "f:i", "i32.reinterpret_f32");
  add(0, 0xbd, "d:l", "i64.reinterpret_f64");
  add(0, 0xbe, "i:f", "f32.reinterpret_i32");
  add(0, 0xbf, "l:d", "f64.reinterpret_i64");
  add(0, 0xc0, "i:i", "i32.extend8_s i32.extend16_s");
  add(0, 0xc2, "l:l", "i64.extend8_s i64.extend16_s i64.extend32_s");

  // Memory
  add(0, 0x28, "i:i", "i32.load:4", "memory");
  add(0, 0x29, "i:l", "i64.load:8", "memory");
  add(0, 0x2a, "i:f", "f32.load:4", "memory");
  add(0, 0x2b, "i:d", "f64.load:8", "memory");
  add(
    0,
    0x2c,
    "i:i",
    of("i32", "load8_s:1 load8_u:1 load16_s:2 load16_u:2"),
    "memory",
  );
  add(
    0,
    0x30,
    "i:l",
    of(
      "i64",
      "load8_s:1 load8_u:1 load16_s:2 load16_u:2 load32_s:4 load32_u:4",
    ),
    "memory",
  );
  add(0, 0x36, "ii:", "i32.store:4", "memory");
  add(0, 0x37, "il:", "i64.store:8", "memory");
  add(0, 0x38, "if:", "f32.store:4", "memory");
  add(0, 0x39, "id:", "f64.store:8", "memory");
  add(0, 0x3a, "ii:", "i32.store8:1 i32.store16:2", "memory");
  add(0, 0x3c, "il:", "i64.store8:1 i64.store16:2 i64.store32:4", "memory");

  // Saturating conversion, bulk memory
  const MISC = 0xfc;
  add(MISC, 0, "f:i", "i32.trunc_sat_f32_s i32.trunc_sat_f32_u");
  add(MISC, 2, "d:i", "i32.trunc_sat_f64_s i32.trunc_sat_f64_u");
  add(MISC, 4, "f:l", "i64.trunc_sat_f32_s i64.trunc_sat_f32_u");
  add(MISC, 6, "d:l", "i64.trunc_sat_f64_s i64.trunc_sat_f64_u");
  add(MISC, 10, "iii:", "memory.copy", "none", [0, 0]);
  add(MISC, 11, "iii:", "memory.fill", "none", [0]);

  // SIMD: memory
  add(
    SIMD,
    0,
    "i:v",
    of(
      "v128",
      "load:16 load8x8_s:8 load8x8_u:8 load16x4_s:8 load16x4_u:8 load32x2_s:8 load32x2_u:8 " +
        "load8_splat:1 load16_splat:2 load32_splat:4 load64_splat:8",
    ),
    "memory",
  );
  add(SIMD, 11, "iv:", "v128.store:16", "memory");
  add(
    SIMD,
    84,
    "iv:v",
    of("v128", "load8_lane:1 load16_lane:2 load32_lane:4 load64_lane:8"),
    "memoryLane",
  );
  add(
    SIMD,
    88,
    "iv:",
    of("v128", "store8_lane:1 store16_lane:2 store32_lane:4 store64_lane:8"),
    "memoryLane",
  );
  add(SIMD, 92, "i:v", "v128.load32_zero:4 v128.load64_zero:8", "memory");

  // SIMD: lanes
  add(SIMD, 13, "vv:v", "i8x16.shuffle", "shuffle");
  add(SIMD, 14, "vv:v", "i8x16.swizzle");
  add(SIMD, 15, "i:v", "i8x16.splat i16x8.splat i32x4.splat");
  add(SIMD, 18, "l:v", "i64x2.splat");
  add(SIMD, 19, "f:v", "f32x4.splat");
  add(SIMD, 20, "d:v", "f64x2.splat");
  add(SIMD, 21, "v:i", of("i8x16", "extract_lane_s extract_lane_u"), "lane");
  add(SIMD, 23, "vi:v", "i8x16.replace_lane", "lane");
  add(SIMD, 24, "v:i", of("i16x8", "extract_lane_s extract_lane_u"), "lane");
  add(SIMD, 26, "vi:v", "i16x8.replace_lane", "lane");
  add(SIMD, 27, "v:i", "i32x4.extract_lane", "lane");
  add(SIMD, 28, "vi:v", "i32x4.replace_lane", "lane");
  add(SIMD, 29, "v:l", "i64x2.extract_lane", "lane");
  add(SIMD, 30, "vl:v", "i64x2.replace_lane", "lane");
  add(SIMD, 31, "v:f", "f32x4.extract_lane", "lane");
  add(SIMD, 32, "vf:v", "f32x4.replace_lane", "lane");
  add(SIMD, 33, "v:d", "f64x2.extract_lane", "lane");
  add(SIMD, 34, "vd:v", "f64x2.replace_lane", "lane");

  // SIMD: comparison and bits
  add(SIMD, 35, "vv:v", of("i8x16", integerCompare));
  add(SIMD, 45, "vv:v", of("i16x8", integerCompare));
  add(SIMD, 55, "vv:v", of("i32x4", integerCompare));
  add(SIMD, 65, "vv:v", of("f32x4", floatCompare));
  add(SIMD, 71, "vv:v", of("f64x2", floatCompare));
  add(SIMD, 77, "v:v", "v128.not");
  add(SIMD, 78, "vv:v", of("v128", "and andnot or xor"));
  add(SIMD, 82, "vvv:v", "v128.bitselect");
  add(SIMD, 83, "v:i", "v128.any_true");

  // SIMD: integers
  const saturating = "add add_sat_s add_sat_u sub sub_sat_s sub_sat_u";
  add(SIMD, 96, "v:v", of("i8x16", "abs neg popcnt"));
  add(SIMD, 99, "v:i", of("i8x16", "all_true bitmask"));
  add(SIMD, 101, "vv:v", of("i8x16", "narrow_i16x8_s narrow_i16x8_u"));
  add(SIMD, 107, "vi:v", of("i8x16", "shl shr_s shr_u"));
  add(SIMD, 110, "vv:v", of("i8x16", saturating));
  add(SIMD, 118, "vv:v", of("i8x16", "min_s min_u max_s max_u - avgr_u"));
  add(
    SIMD,
    124,
    "v:v",
    "i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u " +
      "i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u",
  );
  add(SIMD, 128, "v:v", of("i16x8", "abs neg"));
  add(SIMD, 130, "vv:v", "i16x8.q15mulr_sat_s");
  add(SIMD, 131, "v:i", of("i16x8", "all_true bitmask"));
  add(SIMD, 133, "vv:v", of("i16x8", "narrow_i32x4_s narrow_i32x4_u"));
  add(
    SIMD,
    135,
    "v:v",
    of(
      "i16x8",
      "extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u",
    ),
  );
  add(SIMD, 139, "vi:v", of("i16x8", "shl shr_s shr_u"));
  add(SIMD, 142, "vv:v", of("i16x8", saturating));
  add(
    SIMD,
    149,
    "vv:v",
    of(
      "i16x8",
      "mul min_s min_u max_s max_u - avgr_u " +
        "extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u",
    ),
  );
  add(SIMD, 160, "v:v", of("i32x4", "abs neg"));
  add(SIMD, 163, "v:i", of("i32x4", "all_true bitmask"));
  add(
    SIMD,
    167,
    "v:v",
    of(
      "i32x4",
      "extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u",
    ),
  );
  add(SIMD, 171, "vi:v", of("i32x4", "shl shr_s shr_u"));
  add(
    SIMD,
    174,
    "vv:v",
    of(
      "i32x4",
      "add - - sub - - - mul min_s min_u max_s max_u dot_i16x8_s - " +
        "extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u",
    ),
  );
  add(SIMD, 192, "v:v", of("i64x2", "abs neg"));
  add(SIMD, 195, "v:i", of("i64x2", "all_true bitmask"));
  add(
    SIMD,
    199,
    "v:v",
    of(
      "i64x2",
      "extend_low_i32x4_s extend_high_i32x4_s extend_low_i32x4_u extend_high_i32x4_u",
    ),
  );
  add(SIMD, 203, "vi:v", of("i64x2", "shl shr_s shr_u"));
  add(
    SIMD,
    206,
    "vv:v",
    of(
      "i64x2",
      "add - - sub - - - mul eq ne lt_s gt_s le_s ge_s " +
        "extmul_low_i32x4_s extmul_high_i32x4_s extmul_low_i32x4_u extmul_high_i32x4_u",
    ),
  );

  // SIMD: floats
  const lanesBinary = "add sub mul div min max pmin pmax";
  add(SIMD, 94, "v:v", "f32x4.demote_f64x2_zero f64x2.promote_low_f32x4");
  add(SIMD, 103, "v:v", of("f32x4", "ceil floor trunc nearest"));
  add(SIMD, 116, "v:v", of("f64x2", "ceil floor"));
  add(SIMD, 122, "v:v", "f64x2.trunc");
  add(SIMD, 148, "v:v", "f64x2.nearest");
  add(SIMD, 224, "v:v", of("f32x4", "abs neg - sqrt"));
  add(SIMD, 228, "vv:v", of("f32x4", lanesBinary));
  add(SIMD, 236, "v:v", of("f64x2", "abs neg - sqrt"));
  add(SIMD, 240, "vv:v", of("f64x2", lanesBinary));
  add(
    SIMD,
    248,
    "v:v",
    "i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u " +
      "f32x4.convert_i32x4_s f32x4.convert_i32x4_u " +
      "i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero " +
      "f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u",
  );

  // Relaxed SIMD
  add(SIMD, 256, "vv:v", "i8x16.relaxed_swizzle");
  add(
    SIMD,
    257,
    "v:v",
    "i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u " +
      "i32x4.relaxed_trunc_f64x2_s_zero i32x4.relaxed_trunc_f64x2_u_zero",
  );
  add(
    SIMD,
    261,
    "vvv:v",
    "f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd " +
      "i8x16.relaxed_laneselect i16x8.relaxed_laneselect " +
      "i32x4.relaxed_laneselect i64x2.relaxed_laneselect",
  );
  add(
    SIMD,
    269,
    "vv:v",
    "f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min f64x2.relaxed_max " +
      "i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s",
  );
  add(SIMD, 275, "vvv:v", "i32x4.relaxed_dot_i8x16_i7x16_add_s");

  // Atomics
  const ATOMIC = 0xfe;
  add(ATOMIC, 0x00, "ii:i", "memory.atomic.notify:4", "memory");
  add(ATOMIC, 0x01, "iil:i", "memory.atomic.wait32:4", "memory");
  add(ATOMIC, 0x02, "ill:i", "memory.atomic.wait64:8", "memory");
  add(ATOMIC, 0x03, ":", "atomic.fence", "none", [0]);
  add(ATOMIC, 0x10, "i:i", "i32.atomic.load:4", "memory");
  add(ATOMIC, 0x11, "i:l", "i64.atomic.load:8", "memory");
  add(ATOMIC, 0x12, "i:i", of("i32.atomic", "load8_u:1 load16_u:2"), "memory");
  add(
    ATOMIC,
    0x14,
    "i:l",
    of("i64.atomic", "load8_u:1 load16_u:2 load32_u:4"),
    "memory",
  );
  add(ATOMIC, 0x17, "ii:", "i32.atomic.store:4", "memory");
  add(ATOMIC, 0x18, "il:", "i64.atomic.store:8", "memory");
  add(ATOMIC, 0x19, "ii:", of("i32.atomic", "store8:1 store16:2"), "memory");
  add(
    ATOMIC,
    0x1b,
    "il:",
    of("i64.atomic", "store8:1 store16:2 store32:4"),
    "memory",
  );
  for (
    const [i, name] of "add sub and or xor xchg cmpxchg".split(" ").entries()
  ) {
    const first = 0x1e + 7 * i, twice = name === "cmpxchg";
    const i32 = twice ? "iii:i" : "ii:i", i64 = twice ? "ill:l" : "il:l";
    add(ATOMIC, first, i32, `i32.atomic.rmw.${name}:4`, "memory");
    add(ATOMIC, first + 1, i64, `i64.atomic.rmw.${name}:8`, "memory");
    add(
      ATOMIC,
      first + 2,
      i32,
      of("i32.atomic", `rmw8.${name}_u:1 rmw16.${name}_u:2`),
      "memory",
    );
    add(
      ATOMIC,
      first + 4,
      i64,
      of("i64.atomic", `rmw8.${name}_u:1 rmw16.${name}_u:2 rmw32.${name}_u:4`),
      "memory",
    );
  }
  return all;
}
