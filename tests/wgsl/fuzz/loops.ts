/**
 * Random loops over memory, whose counters and indices run out of range and past the ends of their
 * types: what the compiler proves about indices before a loop must hold in all of its rounds.
 *
 * @module
 */
import type { Generated } from "./generate.ts";
import { expression, type Node, statement } from "./node.ts";
import { Random } from "./random.ts";

/** Words of the buffers. */
const OUT = 12, X = 20;

/** The loop of a seed, in one invocation. */
export function generateLoop(seed: number): Generated {
  const random = new Random(seed);
  const type = random.pick(["i32", "u32"]);
  const suffix = type === "u32" ? "u" : "";
  /** Small ones, about the lengths of the buffers, and about the ends of the types. */
  const number = () => {
    const near = random.chance(0.5)
      ? random.below(4)
      : random.pick([OUT, X]) + random.below(9) - 6;
    const value = random.chance(0.9) ? near : random.pick([
      0x7fffffff,
      0x80000000,
      0xffffffff,
      0x40000000,
    ]) + random.below(9) - 4;
    return type === "u32" ? value >>> 0 : value | 0;
  };
  const parameters = new Int32Array(8).map(number);
  const literal = () => {
    const value = number();
    return value === -(2 ** 31) ? "i32(-2147483648)" : `${value}${suffix}`;
  };
  /** What does not change in the loop: a number or a parameter; or in memory that the loop writes. */
  const steady = (): Node =>
    expression(
      type,
      random.pick([
        literal(),
        `${random.below(5)}${suffix}`,
        ...Array<string>(2).fill(
          `${type}(p[${random.below(2)}].${"xyzw"[random.below(4)]})`,
        ),
        `${type}(out[${random.below(3)}])`,
      ]),
    );
  const index = (): Node => {
    const line = expression(
      type,
      random.pick(["k", "k", "j"]),
      random.pick([" + ", " * ", " - "]),
      "(",
      steady(),
      ")",
    );
    return random.chance(0.3)
      ? expression(type, "(", line, ") + ", random.pick(["k", "j"]))
      : line;
  };
  const grow = (name: string) =>
    statement(`${name} ${random.pick(["+=", "+=", "-="])} `, steady(), ";\n");
  /** Words side by side, mostly. */
  const fourStores = () => {
    const base = random.pick(
      ["k", "j", "k * 4", "j * 4"].map((b) => b.includes("*") ? b + suffix : b),
    );
    const values = ["sum", "u32(k)", "u32(j) + sum", "x[k]", "7u", "out[0]"];
    const most = random.pick([3, 5, 6]);
    return statement(
      ...Array.from({ length: 4 }, (_, i) => {
        const value = values[random.below(most)]!;
        const at = random.chance(0.9) ? i : random.below(5);
        return statement(`out[${base} + ${at}${suffix}] = ${value};\n`);
      }),
    );
  };
  const round = () =>
    random.pick([
      () => statement("out[", index(), "] += 1u;\n"),
      () => statement("out[", index(), "] = x[", index(), "];\n"),
      () => statement("sum += x[", index(), "];\n"),
      () =>
        statement(
          "if sum % 3u == 1u { sum += x[",
          index(),
          "]; } else { out[",
          index(),
          "] ^= sum; }\n",
        ),
      () => grow("j"),
      fourStores,
      () => statement("if sum % 5u == 4u { sum++; continue; }\n"),
    ])();
  const compare = random.pick(["<", "<=", ">", ">="]);
  const rounds = Array.from({ length: 1 + random.below(4) }, round);
  const node = statement(
    `@group(0) @binding(0) var<uniform> p: array<vec4i, 2>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@compute @workgroup_size(1) fn main() {
  var sum = 0u; var most = 0; var j = `,
    steady(),
    ";\nfor (var k = ",
    steady(),
    `; k ${compare} `,
    steady(),
    "; k ",
    random.pick(["+=", "-="]),
    " ",
    steady(),
    ") {\nif most > 30 { break; } most++;\n",
    ...rounds,
    "}\nout[0] += sum;\n}\n",
  );
  return {
    node,
    constants: {},
    exact: true,
    job: {
      uniform: parameters,
      buffers: {
        out: Uint32Array.from({ length: OUT }, () => random.below(20)),
        x: Uint32Array.from({ length: X }, () => random.below(100)),
      },
    },
  };
}
