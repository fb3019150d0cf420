import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(3);

/** Element of a row-major tensor of `shape` at coordinates of the broadcast shape. */
function at(
  data: ArrayLike<number>,
  shape: readonly number[],
  to: readonly number[],
  i: number,
) {
  let offset = 0, stride = 1;
  for (let axis = to.length - 1; axis >= 0; axis--) {
    const own = shape[axis - to.length + shape.length] ?? 1;
    if (own > 1) offset += (i % to[axis]!) * stride;
    stride *= own;
    i = Math.floor(i / to[axis]!);
  }
  return data[offset]!;
}

for (
  const [cond, a, b, to] of [
    [[], [], [], []],
    [[5], [5], [5], [5]],
    [[67], [], [1], [67]],
    [[3, 1], [1, 5], [5], [3, 5]],
    [[], [2, 3], [3, 1, 1], [3, 2, 3]],
    [[2, 1, 3, 1, 2], [1, 3, 1, 5, 1], [2], [2, 3, 3, 5, 2]],
    [[0, 3], [3], [], [0, 3]],
    [[1031], [1031], [], [1031]], // past a workgroup of fours
    [[7, 1], [8], [7, 8], [7, 8]], // fours, of which one repeats
    [[8], [7, 1], [], [7, 8]],
    [[3, 1, 4], [5, 1], [3, 5, 1], [3, 5, 4]],
    [[37, 300], [300], [37, 1], [37, 300]],
    [[2, 1, 2, 1, 2, 1, 4], [2, 1, 2, 1, 2, 1], [1], [2, 2, 2, 2, 2, 2, 4]],
  ] as const
) {
  Deno.test(`where() broadcasts [${cond}], [${a}] and [${b}]`, async () => {
    const c = rng.integers(cond, 0, 2), x = rng.normal(a), y = rng.normal(b);
    const [cs, xs, ys] = await Promise.all([c.data(), x.data(), y.data()]);
    const size = to.reduce<number>((p, n) => p * n, 1);
    const want = Float32Array.from(
      { length: size },
      (_, i) => at(cs, cond, to, i) ? at(xs, a, to, i) : at(ys, b, to, i),
    );
    await assertClose(d.where(c, x, y), d.tensor(want, to), {
      atol: 0,
      rtol: 0,
    });
    await assertClose(d.where(d.cast(c, "f32"), x, y), want, {
      atol: 0,
      rtol: 0,
    });
  });
}

Deno.test("where() takes numbers, whole numbers, -0 and NaN", async () => {
  const cond = d.tensor([0, -0, NaN, -1]);
  await assertClose(d.where(cond, 1, d.tensor([5, 6, 7, 8])), [5, 6, 1, 1]);
  await assertClose(d.where(cond, d.tensor([5, 6, 7, 8], [4], "i32"), -2), [
    -2,
    -2,
    7,
    8,
  ]);
});

Deno.test("where() has the right gradients", async () => {
  const cond = rng.integers([2, 3, 5], 0, 2);
  const f = (a: d.Tensor, b: d.Tensor) => d.where(cond, a, b);
  await assertGradient(f, [rng.normal([2, 3, 5]), rng.normal([2, 3, 5])]);
  await assertGradient(f, [rng.normal([3, 1]), rng.normal([])]);
});

Deno.test("where() names shapes and types that do not fit", () => {
  const x = d.zeros([2, 3]), i = d.zeros([3], "i32");
  throws(() => d.where(x, x, d.zeros([2])), /a is \[2, 3\], b is \[2\]/);
  throws(() => d.where(i, x, i), /a is f32\[2, 3\], b is i32\[3\]/);
});
