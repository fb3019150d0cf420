import assert from "node:assert/strict";
import { kernelDistance, type Points, Rng, squaredMmd } from "../../mod.ts";
import { assertClose } from "../_check.ts";

async function normals(
  count: number,
  dimensions: number,
  seed: number,
  at = 0,
): Promise<Points> {
  const x = new Rng(seed).normal([count, dimensions], at);
  return { data: await x.data(), shape: x.shape };
}

/** The definition, over some rows. */
function plainMmd(x: Points, y: Points): number {
  const d = x.shape[1]!;
  const sum = (a: Points, b: Points, own: boolean) => {
    let total = 0;
    for (let i = 0; i < a.shape[0]!; i++) {
      for (let j = 0; j < b.shape[0]!; j++) {
        if (own && i === j) continue;
        let dot = 0;
        for (let k = 0; k < d; k++) {
          dot += a.data[i * d + k]! * b.data[j * d + k]!;
        }
        total += (dot / d + 1) ** 3;
      }
    }
    return total / (a.shape[0]! * (b.shape[0]! - Number(own)));
  };
  return sum(x, x, true) + sum(y, y, true) - 2 * sum(x, y, false);
}

Deno.test("squaredMmd() knows three points against three", async () => {
  const x = { data: [1, 0, 0, 1, 1, 1], shape: [3, 2] };
  const y = { data: [2, 0, 0, 2, 0, 0], shape: [3, 2] };
  await assertClose([await squaredMmd(x, y)], [-4.638889], { rtol: 1e-7 });
});

Deno.test("squaredMmd() equals plain sums, whatever the sizes", async () => {
  for (
    const [n, m, d] of [[2, 2, 1], [5, 3, 7], [67, 90, 33], [
      1030,
      9,
      3,
    ]] as const
  ) {
    const x = await normals(n, d, n), y = await normals(m, d, m + 1000, 0.3);
    await assertClose([await squaredMmd(x, y)], [plainMmd(x, y)], {
      atol: 1e-12,
      rtol: 1e-11,
    });
  }
});

Deno.test("kernelDistance() is the mean over subsets without repetition", async () => {
  const x = await normals(8, 3, 1), y = await normals(3, 3, 2, 1);
  // Subsets of 2 of the 8, and of 2 of the 3: the mean of many tends to that of all.
  const found = await kernelDistance(x, y, { subsets: 4_000, subsetSize: 2 });
  const all = plainMmd(x, y);
  const error = found.std / Math.sqrt(found.subsets);
  assert.ok(Math.abs(found.mean - all) < 4 * error, `${found.mean} ${all}`);
  assert.deepEqual([found.subsets, found.subsetSize], [4_000, 2]);
});

Deno.test("kernelDistance() gives the same by the kernel of all pairs as by that of each subset", async () => {
  const x = await normals(60, 5, 3), y = await normals(60, 5, 4);
  const of = (subsets: number) =>
    kernelDistance(x, y, { subsets, subsetSize: 40 });
  // 120² is more than 2 times 80², but less than 3 times; the first draws are the same.
  const [one, two, three] = [await of(1), await of(2), await of(3)];
  const values = [
    one.mean,
    2 * two.mean - one.mean,
    3 * three.mean - 2 * two.mean,
  ];
  const squares = values.map((value) => (value - three.mean) ** 2);
  await assertClose(
    [three.std],
    [Math.sqrt(squares.reduce((a, b) => a + b) / 3)],
    { atol: 0, rtol: 1e-9 },
  );
});

Deno.test("kernelDistance() takes all rows once where subsets are no smaller", async () => {
  const x = await normals(30, 4, 5), y = await normals(30, 4, 6);
  const found = await kernelDistance(x, y);
  assert.deepEqual(found, {
    mean: await squaredMmd(x, y),
    std: 0,
    subsets: 1,
    subsetSize: 30,
  });
});

Deno.test("kernelDistance() does not mind the order of rows, but the seed", async () => {
  const x = await normals(50, 3, 7), y = await normals(40, 3, 8, 0.5);
  const reversed = ({ data, shape }: Points): Points => ({
    data: Array.from(
      { length: data.length },
      (_, i) => data[(shape[0]! - 1 - Math.floor(i / 3)) * 3 + i % 3]!,
    ),
    shape,
  });
  const options = { subsets: 10, subsetSize: 20 };
  const { mean, std } = await kernelDistance(x, y, options);
  const back = await kernelDistance(reversed(x), reversed(y), options);
  await assertClose([back.mean, back.std], [mean, std], { rtol: 1e-12 });
  const other = await kernelDistance(x, y, { ...options, seed: 1 });
  assert.ok(Math.abs(other.mean - mean) > 1e-6);
  assert.ok(Math.abs(other.mean - mean) < std);
});

Deno.test("kernelDistance() of equal distributions is 0 within its error, of others above", async () => {
  const options = { subsets: 30, subsetSize: 100 };
  const x = await normals(400, 16, 9);
  const same = await kernelDistance(x, await normals(400, 16, 10), options);
  assert.ok(Math.abs(same.mean) < same.std, `${same.mean} ± ${same.std}`);
  const other = await kernelDistance(
    x,
    await normals(400, 16, 11, 0.3),
    options,
  );
  assert.ok(other.mean > 3 * other.std, `${other.mean} ± ${other.std}`);
});

Deno.test("kernelDistance() explains what it cannot use", async () => {
  const two = { data: [1, 2], shape: [2, 1] };
  const cases: [() => Promise<unknown>, string, RegExp][] = [
    [
      () => kernelDistance(two, { data: [1], shape: [1, 1] }),
      "RangeError",
      /of fake features as it needs at least 2 of them: there are 1/,
    ],
    [
      () => squaredMmd({ data: [1], shape: [1, 1] }, two),
      "RangeError",
      /of real features/,
    ],
    [
      () => kernelDistance(two, { data: [1, 2, 3, 4], shape: [2, 2] }),
      "TypeError",
      /must be \[N, 1\]: shape is \[2, 2\]/,
    ],
    [
      () => kernelDistance({ data: [1, Infinity], shape: [2, 1] }, two),
      "RangeError",
      /real features .* of point 1 is Infinity/,
    ],
    [() => kernelDistance(two, two, { subsets: 0 }), "RangeError", /subsets/],
    [
      () => kernelDistance(two, two, { subsetSize: 1 }),
      "RangeError",
      /subsetSize must be whole and from 2 on: it is 1/,
    ],
  ];
  for (const [call, name, message] of cases) {
    await assert.rejects(call, { name, message });
  }
});
