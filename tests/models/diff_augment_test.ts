import assert from "node:assert/strict";
import {
  capture,
  diffAugment,
  full,
  gradients,
  mul,
  ones,
  Rng,
  scope,
  sum,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const NONE = { color: 0, translation: 0, cutout: 0 };
const SHAPE = [40, 3, 8, 6];
const PIXELS = 48, IMAGE = 3 * PIXELS;

Deno.test("diffAugment() changes nothing at strength 0", async () => {
  const x = new Rng(1).normal(SHAPE);
  await assertClose(diffAugment(x, new Rng(2), NONE), x, { atol: 0, rtol: 0 });
});

Deno.test("diffAugment() recolours each image as a whole", async () => {
  const x = new Rng(3).normal(SHAPE);
  const [before, after] = await Promise.all([
    x.data(),
    diffAugment(x, new Rng(4), { ...NONE, color: 1 }).data(),
  ]);
  // The draws in their order, and the formulas of the paper's code.
  const rng = new Rng(4);
  const draw = async (low: number, high: number) =>
    await rng.uniform([SHAPE[0]!, 1, 1, 1], low, high).data();
  const brightness = await draw(-0.5, 0.5);
  const saturation = await draw(0, 2), contrast = await draw(0.5, 1.5);
  const want = before.slice();
  for (let n = 0; n < SHAPE[0]!; n++) {
    const image = want.subarray(n * IMAGE, (n + 1) * IMAGE);
    const start = image.map((v) => v + brightness[n]!);
    const grey = Float64Array.from(
      { length: PIXELS },
      (_, i) => (start[i]! + start[PIXELS + i]! + start[2 * PIXELS + i]!) / 3,
    );
    const colours = start.map((v, i) =>
      (v - grey[i % PIXELS]!) * saturation[n]! + grey[i % PIXELS]!
    );
    const level = Array.from(colours).reduce((a, b) => a + b) / IMAGE;
    image.set(colours.map((v) => (v - level) * contrast[n]! + level));
  }
  await assertClose(after, want, { atol: 1e-5 });
});

Deno.test("diffAugment() shifts each image by a whole number of pixels of its own", async () => {
  const x = new Rng(5).normal(SHAPE);
  const [before, after] = await Promise.all([
    x.data(),
    diffAugment(x, new Rng(6), { ...NONE, translation: 0.25 }).data(),
  ]);
  const shifts = new Set<string>();
  for (let n = 0; n < SHAPE[0]!; n++) {
    const matches: string[] = [];
    for (let dy = -2; dy <= 2; dy++) {
      for (let dx = -2; dx <= 2; dx++) {
        const shifted = Float32Array.from({ length: IMAGE }, (_, k) => {
          const column = k % 6 - dx, row = Math.floor(k / 6) % 8 - dy;
          const inside = column >= 0 && column < 6 && row >= 0 && row < 8;
          return inside ? before[n * IMAGE + k - dy * 6 - dx]! : 0;
        });
        if (shifted.every((v, k) => v === after[n * IMAGE + k])) {
          matches.push(`${dy},${dx}`);
        }
      }
    }
    assert.equal(matches.length, 1, `image ${n}`);
    shifts.add(matches[0]!);
  }
  assert.ok(shifts.size > 10, `${shifts.size} of 25`);
  const ends = [...shifts].flatMap((s) => s.split(",").map(Number));
  assert.deepEqual([Math.min(...ends), Math.max(...ends)], [-2, 2]);
});

Deno.test("diffAugment() cuts one rectangle out of each image, anywhere", async () => {
  const values = await diffAugment(ones(SHAPE), new Rng(7), {
    ...NONE,
    cutout: 0.5,
  }).data();
  const areas = new Set<number>();
  for (let n = 0; n < SHAPE[0]!; n++) {
    const [rows, columns] = [new Set<number>(), new Set<number>()];
    const planes = [0, 1, 2].map((c) =>
      values.subarray(n * IMAGE + c * PIXELS, n * IMAGE + (c + 1) * PIXELS)
    );
    assert.deepEqual(planes[1], planes[0]);
    assert.deepEqual(planes[2], planes[0]);
    let area = 0;
    planes[0]!.forEach((v, i) => {
      assert.ok(v === 0 || v === 1);
      if (v === 1) return;
      area++;
      rows.add(Math.floor(i / 6));
      columns.add(i % 6);
    });
    assert.equal(area, rows.size * columns.size, `image ${n}`);
    assert.ok(rows.size >= 2 && rows.size <= 4, `${rows.size} rows`);
    assert.ok(
      columns.size >= 1 && columns.size <= 3,
      `${columns.size} columns`,
    );
    areas.add(area);
  }
  assert.ok(areas.has(12) && areas.size > 1); // whole, and cut by the edge
});

Deno.test("diffAugment() has the right gradient", async () => {
  const x = new Rng(8).normal([2, 2, 4, 4]);
  await assertGradient((x) => diffAugment(x, new Rng(9)), [x]);
});

Deno.test("diffAugment() draws anew in each replay of a captured step, as a call does", async () => {
  const x = new Rng(10).normal([4, 3, 8, 8]).requireGrad();
  const called = new Rng(11), replayed = new Rng(11);
  const body = (rng: Rng) => {
    const y = diffAugment(x, rng);
    return { y, dx: gradients(sum(mul(y, y)), [x])[0]! };
  };
  const step = capture(() => body(replayed));
  const seen: string[] = [];
  for (let i = 0; i < 3; i++) {
    step.replay({});
    const [got] = await step.outputs();
    const want = scope(() => body(called));
    await assertClose(want.y, got!.y, { atol: 0, rtol: 0 });
    await assertClose(want.dx, got!.dx, { atol: 0, rtol: 0 });
    seen.push(got!.y.join());
  }
  assert.equal(new Set(seen).size, 3);
  step.dispose();
});

Deno.test("diffAugment() explains what does not fit", () => {
  const rng = new Rng(12);
  assert.throws(() => diffAugment(full([2, 3], 1), rng), /\[N, C, H, W\]/);
  assert.throws(
    () => diffAugment(ones(SHAPE), rng, { cutout: 1.5 }),
    /cutout must lie in 0 … 1: it is 1.5/,
  );
  assert.throws(() => diffAugment(ones(SHAPE), rng, { color: -1 }), RangeError);
});
