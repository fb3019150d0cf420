import { MathLibrary, type MathName } from "../../wgsl/math.ts";
import { hasRelaxedSimd, ModuleBuilder } from "../../wgsl/wasm.ts";

const LANES = 1 << 16; // the most elements of one call
const BINARY = new Set<MathName>([
  "pow",
  "atan2",
  "divI32",
  "divU32",
  "remI32",
  "remU32",
  "remF32",
]);
/** With separate and, where the runtime has it, with fused multiply-add. */
const FORMS = hasRelaxedSimd() ? [false, true] : [false];

type Elementwise = (x: Float32Array, y?: Float32Array) => Float32Array;

/** The function of that name over arrays; a last incomplete vector is filled up. */
function elementwise(name: MathName, relaxed = false): Elementwise {
  const module = new ModuleBuilder({ shared: false });
  const fn = new MathLibrary(module, relaxed).get(name);
  const run = module.function("run", ["i32", "i32"], []);
  const loop = run.loop();
  run.get(0).get(0).load("v128.load");
  if (BINARY.has(name)) run.get(0).load("v128.load", 4 * LANES);
  run.call(fn).store("v128.store", 8 * LANES);
  run.get(0).i32(16).op("i32.add").tee(0);
  run.get(1).op("i32.lt_u").brIf(loop).end();
  module.export("run", run);
  const memory = new WebAssembly.Memory({
    initial: 12 * LANES / 65536,
    maximum: 65536,
  });
  const { exports } = new WebAssembly.Instance(
    new WebAssembly.Module(module.finish()),
    { env: { memory } },
  );
  const floats = new Float32Array(memory.buffer);
  return (x, y) => {
    if (x.length > LANES) throw new Error("Too many elements");
    floats.set(x);
    if (y) floats.set(y, LANES);
    (exports.run as (start: number, end: number) => void)(
      0,
      Math.ceil(x.length / 4) * 16,
    );
    return floats.slice(2 * LANES, 2 * LANES + x.length);
  };
}

/** As {@linkcode elementwise}, of integers. */
function integers(name: MathName): (x: number[], y?: number[]) => Int32Array {
  const apply = elementwise(name);
  const floats = (values: number[]) =>
    new Float32Array(Int32Array.from(values).buffer);
  return (x, y) => new Int32Array(apply(floats(x), y && floats(y)).buffer);
}

const MAX = 2 ** 128 - 2 ** 104;
const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** How far `got` is from `want`, in units of the last place of the f32 nearest to `want`. */
function ulps(got: number, want: number): number {
  if (Number.isNaN(want)) return Number.isNaN(got) ? 0 : Infinity;
  scratch[0] = Math.abs(want);
  if (scratch[0] === Infinity) {
    if (got === Math.sign(want) * Infinity) return 0;
    return got === Math.sign(want) * MAX ? 1 : Infinity; // one step before
  }
  const exponent = Math.max(scratchBits[0]! >>> 23, 1);
  return Math.abs(got - want) / 2 ** (exponent - 150);
}

/** Throws if an element is further off than `limit` units, and says which is worst. */
function assertUlps(
  what: string,
  got: Float32Array,
  want: (i: number) => number,
  limit: number,
  arguments_: (i: number) => string,
): void {
  let worst = -1, most = limit;
  got.forEach((value, i) => {
    const off = ulps(value, want(i));
    if (!(off <= most)) [worst, most] = [i, off];
  });
  if (worst >= 0) {
    throw new Error(
      `${what}(${arguments_(worst)}) is ${got[worst]}, want ${want(worst)}: ` +
        `off by ${most} units of the last place, allowed ${limit}`,
    );
  }
}

/** `count` numbers from `low` to `high` with equal steps. */
function linear(low: number, high: number, count = 60_013): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => low + (high - low) * (i + 0.37) / count,
  );
}

/** Numbers of both signs with equal steps of the exponent. */
function logarithmic(low: number, high: number, count = 60_013): Float32Array {
  return linear(low, high, count).map((e, i) => (i % 2 ? -1 : 1) * 2 ** e);
}

/** Floats next to the multiples of π/2, where sin, cos or 1/tan is nearly 0. */
const zeros = linear(0, 60_013).map((i) => Math.floor(i) * Math.PI / 2);

/** Largest errors in units of the last place, over these arguments. */
const ACCURACY: [MathName, (x: number) => number, number, Float32Array[]][] = [
  ["exp", Math.exp, 1.05, [linear(-104.5, 89), logarithmic(-149, 0)]],
  ["exp2", (x) => 2 ** x, 1.25, [linear(-150.5, 128.5), linear(-1, 1)]],
  ["log", Math.log, 1, [
    logarithmic(-149, 128).map(Math.abs),
    linear(0.5, 2),
    linear(0.999, 1.001),
  ]],
  ["log2", Math.log2, 1.6, [
    logarithmic(-149, 128).map(Math.abs),
    linear(0.5, 2),
    linear(0.999, 1.001),
  ]],
  ["sinh", Math.sinh, 2, [
    linear(-90, 90),
    linear(-2, 2),
    logarithmic(-149, 0),
  ]],
  ["cosh", Math.cosh, 1.5, [linear(-90, 90), linear(-2, 2)]],
  ["tanh", Math.tanh, 1.5, [
    linear(-10, 10),
    linear(-1, 1),
    logarithmic(-149, 128),
  ]],
  // from 2^28 on by another reduction
  ["sin", Math.sin, 1.75, [
    linear(-100, 100),
    linear(-1000, 1000),
    logarithmic(-149, 127.99),
    logarithmic(27.9, 28.1),
    zeros,
  ]],
  ["cos", Math.cos, 1.75, [
    linear(-100, 100),
    linear(-1000, 1000),
    logarithmic(-149, 127.99),
    logarithmic(27.9, 28.1),
    zeros,
  ]],
  ["tan", Math.tan, 2.5, [
    linear(-100, 100),
    logarithmic(-149, 127.99),
    zeros,
  ]],
  ["asin", Math.asin, 2.5, [linear(-1, 1), logarithmic(-149, 0)]],
  ["acos", Math.acos, 1.5, [linear(-1, 1), linear(0.999, 1)]],
  ["atan", Math.atan, 2, [linear(-3, 3), logarithmic(-149, 128)]],
];

for (const [name, reference, limit, sweeps] of ACCURACY) {
  Deno.test(`${name}() is within ${limit} units of the last place`, () => {
    for (const relaxed of FORMS) {
      const apply = elementwise(name, relaxed);
      for (const x of sweeps) {
        assertUlps(
          `${name}, relaxed ${relaxed}: ${name}`,
          apply(x),
          (i) => reference(x[i]!),
          limit,
          (i) => `${x[i]}`,
        );
      }
    }
  });
}

Deno.test("sin() and cos() are within 2^-23 absolutely", () => {
  const x = linear(-1000, 1000, 60_000);
  for (
    const [name, reference] of [["sin", Math.sin], ["cos", Math.cos]] as const
  ) {
    for (const relaxed of FORMS) {
      const got = elementwise(name, relaxed)(x);
      x.forEach((v, i) => {
        const off = Math.abs(got[i]! - reference(v));
        if (!(off <= 2 ** -23)) {
          throw new Error(`${name}(${v}) is off by ${off}`);
        }
      });
    }
  }
});

Deno.test("pow() is within 1.5 units of the last place", () => {
  const base = logarithmic(-20, 20).map(Math.abs),
    wide = logarithmic(-149, 128).map(Math.abs);
  // exponents in another order than the bases
  const exponent = linear(-6, 6).map((_, i, all) =>
    all[i * 7919 % all.length]!
  );
  const cases: [Float32Array, Float32Array][] = [
    [base, base.map(() => 2.5)],
    [base, exponent],
    [wide, exponent],
    [linear(0.99, 1.01), exponent.map((v) => 1000 * v)],
  ];
  for (const relaxed of FORMS) {
    const apply = elementwise("pow", relaxed);
    for (const [x, y] of cases) {
      assertUlps(
        "pow",
        apply(x, y),
        (i) => x[i]! ** y[i]!,
        1.5,
        (i) => `${x[i]}, ${y[i]}`,
      );
    }
  }
});

Deno.test("atan2() is within 2 units of the last place in all quadrants", () => {
  const y = logarithmic(-10, 10), x = y.map((_, i) => -y[i * 7919 % y.length]!);
  for (const relaxed of FORMS) {
    assertUlps(
      "atan2",
      elementwise("atan2", relaxed)(y, x),
      (i) => Math.atan2(y[i]!, x[i]!),
      2,
      (i) => `${y[i]}, ${x[i]}`,
    );
  }
});

/** What a float can hold must come out exactly, with the sign of a zero; the rest next to it. */
function isWanted(got: number, want: number): boolean {
  return Object.is(got, want) ||
    Math.fround(want) !== want && ulps(got, want) <= 1.5;
}

Deno.test("Functions map special values as they should", () => {
  const { PI } = Math, inf = Infinity;
  const cases: Record<string, [x: number, want: number][]> = {
    exp: [[0, 1], [-0, 1], [inf, inf], [-inf, 0], [NaN, NaN], [1e30, inf], [
      -1e30,
      0,
    ]],
    exp2: [
      [0, 1],
      [10, 1024],
      [-149, 2 ** -149],
      [-1000, 0],
      [128, inf],
      [127, 2 ** 127],
      [
        inf,
        inf,
      ],
      [-inf, 0],
      [NaN, NaN],
    ],
    log: [
      [1, 0],
      [0, -inf],
      [-0, -inf],
      [-1, NaN],
      [-inf, NaN],
      [-1e-45, NaN],
      [
        inf,
        inf,
      ],
      [NaN, NaN],
    ],
    log2: [[1, 0], [8, 3], [2 ** -149, -149], [2 ** 127, 127], [0, -inf], [
      -2,
      NaN,
    ], [
      inf,
      inf,
    ], [NaN, NaN]],
    sinh: [[0, 0], [-0, -0], [inf, inf], [-inf, -inf], [NaN, NaN], [1e10, inf]],
    cosh: [[0, 1], [inf, inf], [-inf, inf], [NaN, NaN], [-1e10, inf]],
    tanh: [[0, 0], [-0, -0], [inf, 1], [-inf, -1], [NaN, NaN], [20, 1], [
      -9.5,
      -1,
    ]],
    sin: [[0, 0], [inf, NaN], [-inf, NaN], [NaN, NaN], [
      2 ** 120,
      Math.sin(2 ** 120),
    ]],
    cos: [[0, 1], [-0, 1], [inf, NaN], [-inf, NaN], [NaN, NaN]],
    tan: [[0, 0], [inf, NaN], [NaN, NaN]],
    asin: [[0, 0], [-0, -0], [1, PI / 2], [-1, -PI / 2], [1.001, NaN], [
      -2,
      NaN,
    ], [NaN, NaN]],
    acos: [
      [1, 0],
      [-1, PI],
      [0, PI / 2],
      [-0, PI / 2],
      [1.001, NaN],
      [-2, NaN],
      [NaN, NaN],
    ],
    atan: [[0, 0], [-0, -0], [1, PI / 4], [inf, PI / 2], [-inf, -PI / 2], [
      NaN,
      NaN,
    ]],
  };
  for (const [name, pairs] of Object.entries(cases)) {
    for (const relaxed of FORMS) {
      const x = Float32Array.from(pairs, ([x]) => x);
      const got = elementwise(name as MathName, relaxed)(x);
      pairs.forEach(([x, want], i) => {
        if (!isWanted(got[i]!, want)) {
          throw new Error(`${name}(${x}) is ${got[i]}, want ${want}`);
        }
      });
    }
  }
});

Deno.test("Functions keep NaN whatever its payload", () => {
  const names = [...ACCURACY.map(([name]) => name), "pow", "atan2", "toHalf"];
  const nans = [0x7fc00000, 0x7fc00001, 0x7f800001, 0x7fffffff, 0xffc00101, -1];
  for (const name of names) {
    for (const relaxed of FORMS) {
      const x = new Float32Array(Int32Array.from(nans).buffer);
      const got = elementwise(name as MathName, relaxed)(x, x.map(() => 2));
      if (name === "toHalf") {
        const bits = new Int32Array(got.buffer);
        if (bits.some((half) => (half & 0x7fff) !== 0x7e00)) {
          throw new Error(`${name}(NaN) is ${bits}`);
        }
      } else if (!got.every(Number.isNaN)) {
        throw new Error(`${name}(NaN) is ${got}`);
      }
    }
  }
});

Deno.test("pow() and atan2() map special values as they should", () => {
  const inf = Infinity, { PI } = Math;
  const cases: Record<string, [x: number, y: number, want: number][]> = {
    pow: [
      [0, 2, 0],
      [0, -1, inf],
      [0, 0, 1],
      [-0, 3, 0],
      [inf, 2, inf],
      [inf, -2, 0],
      [inf, 0, 1],
      [1, 1e30, 1],
      [2, inf, inf],
      [2, -inf, 0],
      [0.5, inf, 0],
      [7, 0, 1],
      [3, 5, 243],
      [2, -149, 2 ** -149],
      [2 ** -149, 0.5, Math.sqrt(2 ** -149)],
      [-2, 2, NaN],
      [-inf, 1, NaN],
      [NaN, 1, NaN],
      [2, NaN, NaN],
      [10, 39, inf],
      [10, -46, 0],
    ],
    atan2: [
      [0, 1, 0],
      [-0, 1, -0],
      [0, 0, 0],
      [0, -1, PI],
      [0, -0, PI],
      [-0, -1, -PI],
      [1, 0, PI / 2],
      [-1, 0, -PI / 2],
      [inf, inf, PI / 4],
      [inf, -inf, 3 * PI / 4],
      [1, inf, 0],
      [1, -inf, PI],
      [-inf, 1, -PI / 2],
      [NaN, 1, NaN],
      [1, NaN, NaN],
      [2 ** -149, 2 ** -149, PI / 4],
    ],
    remF32: [
      [7, 3, 1],
      [-7, 3, -1],
      [7, -3, 1],
      [5.5, 2, 1.5],
      [1, 0, NaN],
    ],
  };
  for (const [name, triples] of Object.entries(cases)) {
    for (const relaxed of FORMS) {
      const got = elementwise(name as MathName, relaxed)(
        Float32Array.from(triples, ([x]) => x),
        Float32Array.from(triples, ([, y]) => y),
      );
      triples.forEach(([x, y, want], i) => {
        if (!isWanted(got[i]!, want)) {
          throw new Error(`${name}(${x}, ${y}) is ${got[i]}, want ${want}`);
        }
      });
    }
  }
});

/** Integers of all sizes, with the ends of the ranges. */
const INTEGERS = [0, 1, 2, 3, 7, 10, 255, 65535, 65536, 2 ** 30, 2 ** 31 - 1]
  .flatMap((v) => [v, -v, ~v]).concat(
    Array.from(
      { length: 200 },
      (_, i) => Math.imul(i + 1, 0x9e3779b1) >> (i % 32),
    ),
  );

function assertSame(
  what: string,
  got: Int32Array,
  want: (i: number) => number,
): void {
  got.forEach((value, i) => {
    if (value !== (want(i) | 0)) {
      throw new Error(`${what} ${i}: got ${value}, want ${want(i) | 0}`);
    }
  });
}

Deno.test("divI32() and its like are WGSL's on every pair", () => {
  const x = INTEGERS.flatMap((a) => INTEGERS.map(() => a));
  const y = INTEGERS.flatMap(() => INTEGERS);
  const unsigned = (v: number) => v >>> 0;
  const cases: [MathName, (a: number, b: number) => number][] = [
    ["divI32", (a, b) => b === 0 ? a : Math.trunc(a / b)], // | 0 wraps 2^31
    ["remI32", (a, b) => b === 0 ? 0 : a % b],
    ["divU32", (a, b) => b === 0 ? a : Math.floor(unsigned(a) / unsigned(b))],
    ["remU32", (a, b) => b === 0 ? 0 : unsigned(a) % unsigned(b)],
  ];
  for (const [name, reference] of cases) {
    const got = integers(name)(x, y);
    got.forEach((value, i) => {
      const want = reference(x[i]! | 0, y[i]! | 0) | 0;
      if (value !== want) {
        throw new Error(`${name}(${x[i]}, ${y[i]}) is ${value}, want ${want}`);
      }
    });
  }
});

Deno.test("Counts and reversals of bits are exact", () => {
  const digits = (v: number) => (v >>> 0).toString(2).padStart(32, "0");
  assertSame(
    "countOneBits",
    integers("countOneBits")(INTEGERS),
    (i) => digits(INTEGERS[i]!).replaceAll("0", "").length,
  );
  assertSame(
    "countLeadingZeros",
    integers("countLeadingZeros")(INTEGERS),
    (i) => Math.clz32(INTEGERS[i]!),
  );
  assertSame(
    "countTrailingZeros",
    integers("countTrailingZeros")(INTEGERS),
    (i) => {
      const last = digits(INTEGERS[i]!).lastIndexOf("1");
      return last < 0 ? 32 : 31 - last;
    },
  );
  assertSame(
    "reverseBits",
    integers("reverseBits")(INTEGERS),
    (i) => parseInt(Array.from(digits(INTEGERS[i]!)).reverse().join(""), 2),
  );
});

/** The number that the bits of a half stand for. */
function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * mantissa * 2 ** -24
    : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

Deno.test("fromHalf() is exact for all halves", () => {
  const halves = Array.from({ length: 65536 }, (_, i) => i);
  const got = new Float32Array(integers("fromHalf")(halves).buffer);
  got.forEach((value, bits) => {
    if (!Object.is(value, halfValue(bits))) {
      throw new Error(`Half ${bits} is ${value}, want ${halfValue(bits)}`);
    }
  });
});

Deno.test("toHalf() rounds to nearest even around all halves", () => {
  const apply = elementwise("toHalf");
  for (const sign of [1, -1]) {
    // every half, the middle between it and the next, and the f32 on either side of the middle
    const x: number[] = [], want: number[] = [];
    for (let bits = 0; bits < 0x7c00; bits++) {
      const low = halfValue(bits);
      const high = bits === 0x7bff ? 65536 : halfValue(bits + 1);
      const middle = (low + high) / 2, step = middle * 2 ** -23;
      const even = bits + (bits & 1);
      x.push(low, middle, middle - step, middle + step);
      want.push(bits, even, bits, bits + 1);
    }
    for (let at = 0; at < x.length; at += LANES) {
      const inputs = Float32Array.from(
        x.slice(at, at + LANES),
        (v) => sign * v,
      );
      const got = new Int32Array(apply(inputs).buffer);
      assertSame("toHalf", got, (i) => want[at + i]! | (sign < 0 ? 0x8000 : 0));
    }
  }
  const extremes = Float32Array.of(Infinity, -Infinity, 1e30, 2 ** -149, 65520);
  assertSame(
    "toHalf",
    new Int32Array(apply(extremes).buffer),
    (i) => [0x7c00, 0xfc00, 0x7c00, 0, 0x7c00][i]!,
  );
});

Deno.test("pack2x16float() and unpack2x16float() invert each other", async () => {
  const module = new ModuleBuilder({ shared: false });
  const library = new MathLibrary(module, false);
  module.export("pack", library.get("pack2x16float"));
  module.export("unpack", library.get("unpack2x16float"));
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
  const { instance } = await WebAssembly.instantiate(module.finish(), {
    env: { memory },
  });
  const pack = instance.exports.pack as (a: number, b: number) => number;
  const unpack = instance.exports.unpack as (bits: number) => [number, number];
  for (const [a, b] of [[1, -2], [0.5, 65504], [-0, 2 ** -24]] as const) {
    const [c, d] = unpack(pack(a, b));
    if (!Object.is(a, c) || !Object.is(b, d)) {
      throw new Error(`(${a}, ${b}) came back as (${c}, ${d})`);
    }
  }
  if (pack(1, -2) !== (0xc0003c00 | 0)) throw new Error("The first is lowest");
});

Deno.test("MathLibrary.get() adds each function once", () => {
  const library = new MathLibrary(new ModuleBuilder({ shared: true }), false);
  const sin = library.get("sin");
  if (library.get("sin") !== sin) throw new Error("sin was added twice");
  if (library.get("cos").index === sin.index) throw new Error("cos is sin");
});
