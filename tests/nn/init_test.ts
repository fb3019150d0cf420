import { deepStrictEqual, throws } from "node:assert/strict";
import { init, Rng } from "../../mod.ts";
import { assertClose } from "../_check.ts";

const SHAPE = [30, 20, 3, 2]; // 3600 elements, fanIn 120, fanOut 180

async function moments(of: init.Init) {
  const data = Array.from(await of(SHAPE, new Rng(2)).data());
  const square = data.reduce((sum, v) => sum + v * v, 0) / data.length;
  const largest = data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return { square, largest };
}

for (
  const [name, of, variance] of [
    ["kaimingUniform()", init.kaimingUniform(), 2 / 120],
    [
      "kaimingUniform() fanOut",
      init.kaimingUniform({ a: 1, mode: "fanOut" }),
      1 / 180,
    ],
    ["kaimingNormal()", init.kaimingNormal(), 2 / 120],
    ["xavierUniform()", init.xavierUniform(), 2 / 300],
    ["xavierNormal()", init.xavierNormal(2), 8 / 300],
    ["varianceScaling()", init.varianceScaling(), 1 / 150],
    ["varianceScaling(0)", init.varianceScaling(0), 1e-10 / 150],
    ["normal()", init.normal(0, 0.02), 4e-4],
    ["uniform()", init.uniform(-1, 1), 1 / 3],
  ] as const
) {
  Deno.test(`${name} has its variance and bound`, async () => {
    const { square, largest } = await moments(of);
    await assertClose([square], [variance], { rtol: 0.06, atol: 0 });
    const bound = Math.sqrt(3 * variance) * 1.0001;
    const uniform = !name.startsWith("normal") && !name.includes("Normal");
    if (uniform !== largest <= bound) {
      throw new Error(`Largest is ${largest}, bound ${bound}`);
    }
  });
}

Deno.test("zeros() and ones() are constant", async () => {
  await assertClose(init.zeros([3]), [0, 0, 0]);
  await assertClose(init.ones([2]), [1, 1]);
});

Deno.test("fans() counts the window and needs two axes", () => {
  deepStrictEqual(init.fans(SHAPE), { fanIn: 120, fanOut: 180 });
  throws(() => init.fans([3]), {
    name: "TypeError",
    message: /shape is \[3\]/,
  });
});
