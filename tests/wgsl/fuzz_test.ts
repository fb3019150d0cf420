import assert from "node:assert/strict";
import { checkWgsl } from "../../wgsl/check.ts";
import { lower } from "../../wgsl/lower.ts";
import { vectorize } from "../../wgsl/lanes.ts";
import { compare, expected, firstDifference } from "./fuzz/compare.ts";
import { openDevice, runOnDevice } from "./fuzz/device.ts";
import { generate } from "./fuzz/generate.ts";
import { generateLoop } from "./fuzz/loops.ts";
import { expression, reading, show, shrink, statement } from "./fuzz/node.ts";

const SEEDS = Array.from({ length: 120 }, (_, i) => i + 1);
const device = await openDevice();

// More of them: deno task fuzz:wgsl
Deno.test("random programs do the same interpreted, compiled, and compiled for four invocations", () => {
  const counts = { same: 0, skipped: 0 };
  for (const seed of SEEDS) {
    const verdict = compare(generate(seed, { portable: seed % 2 === 0 }));
    if (typeof verdict === "string") counts[verdict]++;
    else assert.fail(`Seed ${seed}: ${verdict.difference}`);
  }
  assert(counts.skipped < 0.1 * counts.same, JSON.stringify(counts));
});

Deno.test("random loops stay in their buffers", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const verdict = compare(generateLoop(seed));
    if (typeof verdict !== "string") {
      assert.fail(`Seed ${seed}: ${verdict.difference}`);
    }
  }
});

Deno.test({
  name: "random programs do the same interpreted and on WebGPU",
  ignore: device === null,
  fn: async () => {
    for (const seed of SEEDS.slice(0, 12)) {
      const program = generate(seed, { portable: true });
      const want = expected(program);
      if (!want) continue;
      const [got] = await runOnDevice(device!, [program]);
      assert.equal(firstDifference(got!, want), null, `seed ${seed}`);
    }
  },
});

Deno.test("random programs repeat, and go to four invocations together often enough", () => {
  let together = 0;
  for (const seed of SEEDS) {
    const { node, constants } = generate(seed, { portable: false });
    const source = show(node);
    assert.equal(
      show(generate(seed, { portable: false }).node),
      source,
      `seed ${seed}`,
    );
    const program = checkWgsl(source, { entryPoint: "main", constants });
    if (vectorize(lower(program, "wgsl"))) together++;
  }
  assert(together > 0.2 * SEEDS.length, `only ${together}`);
});

Deno.test("shrink() leaves what a property needs", () => {
  const sum = expression(
    "u32",
    "(",
    expression("u32", "1u"),
    " + ",
    reading("u32", "(", reading("u32", "x"), " * ", reading("u32", "y"), ")"),
    ")",
  );
  const program = statement(
    statement("let a = 1;\n"),
    statement("if c {\n", statement("let b = ", sum, ";\n"), "}\n"),
  );
  const smaller = shrink(program, (node) => show(node).includes("x"), 100);
  assert.equal(show(smaller), "let b = x;\n");
});
