import { equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(17);
const exactly = { atol: 0, rtol: 0 };

/** 0, 1, 2, … in any element type. */
function count(shape: readonly number[], dtype: d.DType = "f32"): d.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return d.tensor(
    Float32Array.from({ length: size }, (_, i) => i),
    shape,
    dtype,
  );
}

/** What `f` must give for `count(shape)`: element at the coordinates that `from` finds. */
function expected(
  shape: readonly number[],
  to: readonly number[],
  from: (at: number[]) => number[] | null,
): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: to.reduce((a, b) => a * b, 1) },
    (_, i) => {
      const at = new Array<number>(to.length);
      for (let axis = to.length - 1; axis >= 0; axis--) {
        at[axis] = i % to[axis]!;
        i = Math.floor(i / to[axis]!);
      }
      return from(at)?.reduce(
        (offset, k, axis) => offset * shape[axis]! + k,
        0,
      ) ?? -1;
    },
  );
}

/** Name, op, shape before, shape after, the coordinates that an output comes from. */
const CASES: [
  string,
  (x: d.Tensor) => d.Tensor,
  number[],
  number[],
  (at: number[]) => number[] | null,
][] = [
  ["reshape", (x) => d.reshape(x, [3, -1]), [2, 3, 2], [3, 4], ([i, j]) => {
    const flat = 4 * i! + j!;
    return [Math.floor(flat / 6), Math.floor(flat / 2) % 3, flat % 2];
  }],
  [
    "permute",
    (x) => d.permute(x, [2, 0, 1]),
    [2, 3, 67],
    [67, 2, 3],
    ([c, a, b]) => [a!, b!, c!],
  ],
  ["permute 5", (x) => d.permute(x, [3, 1, 4, 0, 2]), [2, 3, 2, 5, 3], [
    5,
    3,
    3,
    2,
    2,
  ], (
    [p, q, r, s, t],
  ) => [s!, q!, t!, p!, r!]],
  [
    "permute of length 1",
    (x) => d.permute(x, [1, 0, 2]),
    [1, 3, 5],
    [3, 1, 5],
    (
      [b, a, c],
    ) => [a!, b!, c!],
  ],
  ["transpose", d.transpose, [2, 7, 5], [2, 5, 7], ([n, i, j]) => [n!, j!, i!]],
  [
    "slice",
    (x) => d.slice(x, [1, -4], [3, -1]),
    [3, 5],
    [2, 3],
    ([i, j]) => [i! + 1, j! + 1],
  ],
  ["slice by 2", (x) => d.slice(x, [0, 1], [9, 9], [2, 3]), [5, 7], [3, 2], (
    [i, j],
  ) => [2 * i!, 1 + 3 * j!]],
  ["slice of nothing", (x) => d.slice(x, [2], [1]), [3, 5], [0, 5], () => null],
  [
    "narrow",
    (x) => d.narrow(x, -1, 2, 5),
    [3, 67],
    [3, 3],
    ([i, j]) => [i!, j! + 2],
  ],
  ["expand", (x) => d.expand(x, [2, 3, 5, 4]), [3, 1, 4], [2, 3, 5, 4], (
    [, b, , c],
  ) => [b!, 0, c!]],
  ["expand of a scalar", (x) => d.expand(x, [67]), [], [67], () => []],
  [
    "flip",
    (x) => d.flip(x, [0, 2]),
    [2, 3, 5],
    [2, 3, 5],
    ([i, j, k]) => [1 - i!, j!, 4 - k!],
  ],
  [
    "repeat",
    (x) => d.repeat(x, [2, 1, 3]),
    [3, 5],
    [2, 3, 15],
    ([, i, j]) => [i!, j! % 5],
  ],
  [
    "pad",
    (x) => d.pad(x, [1, 2, 0, 3], -1),
    [2, 3],
    [5, 6],
    ([i, j]) => i! < 2 && j! >= 1 && j! < 4 ? [i!, j! - 1] : null,
  ],
  [
    "pad that cuts",
    (x) => d.pad(x, [-1, 2], -1),
    [2, 3],
    [2, 4],
    ([i, j]) => j! < 2 ? [i!, j! + 1] : null,
  ],
  [
    "concat with itself",
    (x) => d.concat([x, x], 1),
    [3, 5],
    [3, 10],
    ([i, j]) => [i!, j! % 5],
  ],
  [
    "stack",
    (x) => d.stack([x, x], -1),
    [3, 67],
    [3, 67, 2],
    ([i, j]) => [i!, j!],
  ],
  [
    "split and concat",
    (x) => d.concat(d.split(x, [1, 3, 1], 1).reverse(), 1),
    [2, 5],
    [2, 5],
    (
      [i, j],
    ) => [i!, [4, 1, 2, 3, 0][j!]!],
  ],
  [
    "flatten",
    (x) => d.flatten(x, 1),
    [2, 3, 5],
    [2, 15],
    ([i, j]) => [i!, Math.floor(j! / 5), j! % 5],
  ],
  // Rows of a multiple of four, from places that are one, and that are none.
  ["slice of fours", (x) => d.slice(x, [0, 1]), [2, 3, 8], [2, 2, 8], (
    [i, j, k],
  ) => [i!, j! + 1, k!]],
  [
    "slice between fours",
    (x) => d.slice(x, [0, 1]),
    [3, 9],
    [3, 8],
    ([i, j]) => [i!, j! + 1],
  ],
  [
    "transpose of fours",
    d.transpose,
    [2, 12, 68],
    [2, 68, 12],
    ([n, i, j]) => [n!, j!, i!],
  ],
  [
    "flip of fours",
    (x) => d.flip(x, [0, 1]),
    [3, 8],
    [3, 8],
    ([i, j]) => [2 - i!, 7 - j!],
  ],
  [
    "expand of fours",
    (x) => d.expand(x, [3, 2, 8]),
    [3, 1, 1],
    [3, 2, 8],
    ([i]) => [i!, 0, 0],
  ],
  [
    "concat of fours",
    (x) => d.concat([x, x], 1),
    [2, 3, 4],
    [2, 6, 4],
    ([i, j, k]) => [i!, j! % 3, k!],
  ],
  [
    "permute 8",
    (x) => d.permute(x, [7, 6, 5, 4, 3, 2, 1, 0]),
    [2, 1, 3, 2, 2, 1, 2, 2],
    [2, 2, 1, 2, 2, 3, 1, 2],
    (at) => at.toReversed(),
  ],
  [
    "permute 8 of fours",
    (x) => d.permute(x, [6, 5, 4, 3, 2, 1, 0, 7]),
    [2, 2, 2, 2, 2, 2, 2, 4],
    [2, 2, 2, 2, 2, 2, 2, 4],
    (at) => [...at.slice(0, 7).reverse(), at[7]!],
  ],
  [
    "squeeze and unsqueeze",
    (x) => d.unsqueeze(d.squeeze(x), -2),
    [1, 3, 1, 5],
    [3, 1, 5],
    (
      [i, , j],
    ) => [0, i!, 0, j!],
  ],
];

for (const [name, f, shape, to, from] of CASES) {
  Deno.test(`${name} moves every element to its place, of any type`, async () => {
    const want = expected(shape, to, from);
    await assertClose(f(count(shape)), d.tensor(want, to), exactly);
    const whole = f(count(shape, "i32"));
    equal(whole.dtype, "i32");
    await assertClose(whole, want, exactly);
  });

  Deno.test(`${name} has the right gradient`, async () => {
    const small = shape.map((n) => n === 67 ? 5 : n);
    if (name.startsWith("narrow")) small[1] = 6;
    await assertGradient(f, [rng.normal(small)]);
  });

  Deno.test(`${name} leaves the past alone`, async () => {
    const x = count(shape), before = await x.data();
    f(x);
    await assertClose(x, before, exactly);
  });
}

Deno.test("concat() joins different lengths along every axis", async () => {
  for (const axis of [0, 1, 2, -1]) {
    const at = axis < 0 ? 2 : axis;
    const shape = (n: number) => [2, 3, 5].map((m, i) => i === at ? n : m);
    const parts = [1, 0, 4, 2].map((n) => rng.normal(shape(n)));
    const joined = d.concat(parts, axis);
    equal(joined.shape[at], 7);
    let start = 0;
    for (const part of parts) {
      const end = start + part.shape[at]!;
      await assertClose(d.narrow(joined, at, start, end), part, exactly);
      start = end;
    }
    await assertGradient(
      (...x) => d.concat(x, axis),
      parts.filter((x) => x.size > 0),
    );
  }
});

Deno.test("concat() gives no gradient to what does not want one", async () => {
  const a = d.ones([2]).requireGrad(), b = d.ones([3]);
  const [da] = d.gradients(d.concat([b, a]), [a], {
    upstream: d.tensor([1, 2, 3, 4, 5]),
  });
  await assertClose(da!, [4, 5], exactly);
});

Deno.test("split() cuts into equal or given pieces", async () => {
  const x = count([2, 6]);
  const halves = d.split(x, 2, 1);
  await assertClose(halves[1]!, [3, 4, 5, 9, 10, 11], exactly);
  const pieces = d.split(x, [0, 1, 5], 1);
  equal(pieces.map((piece) => piece.shape.join("x")).join(), "2x0,2x1,2x5");
  throws(() => d.split(x, 4, 1), /must add up to the length of the axis/);
  throws(() => d.split(x, [1, 2], 1), /pieces is 1 \+ 2/);
});

Deno.test("tensors without elements and scalars go through", async () => {
  const none = d.zeros([0, 3], "i32");
  const results = [
    [d.permute(none, [1, 0]), [3, 0]],
    [d.reshape(none, [3, 0]), [3, 0]],
    [d.flip(none, 0), [0, 3]],
    [d.concat([none, none], 1), [0, 6]],
    [d.expand(d.zeros([1]), [2, 0]), [2, 0]],
    [d.repeat(d.ones([2]), [0]), [0]],
    [d.stack([d.zeros([]), d.zeros([])]), [2]],
    [d.flatten(d.zeros([])), [1]],
    [d.squeeze(d.zeros([1, 1])), []],
    [d.pad(d.zeros([0]), [1, 1]), [2]],
    [d.permute(d.zeros([]), []), []],
  ] as const;
  for (const [x, shape] of results) equal(x.shape.join(), shape.join());
  await assertClose(d.pad(none, [0, 0, 1, 0], 7), [7, 7, 7], exactly);
  const leaf = d.ones([2]).requireGrad();
  await assertClose(
    d.gradients(d.sum(d.repeat(leaf, [0])), [leaf])[0]!,
    [0, 0],
    exactly,
  );
  await assertClose(d.gradients(d.sum(d.narrow(leaf, 0, 1, 1)), [leaf])[0]!, [
    0,
    0,
  ], exactly);
});

Deno.test("what changes nothing copies nothing", () => {
  const x = count([2, 3]);
  equal(d.reshape(x, [2, 3]), x);
  equal(d.slice(x, [0, 0]), x);
  equal(d.expand(x, [2, 3]), x);
  equal(d.pad(x, [0, 0]), x);
  equal(d.concat([x]), x);
  equal(d.reshape(x, [6]).storage, x.storage);
  equal(d.permute(d.reshape(x, [2, 1, 3]), [1, 0, 2]).storage, x.storage);
});

Deno.test("copies go past 65535 workgroups", async () => {
  const [rows, cols] = [65537, 65]; // times 64 invocations
  await d.scope(async () => {
    const x = rng.words([rows, cols]);
    const back = d.transpose(d.transpose(x));
    const wrong = d.notEqual(d.cast(back, "f32"), d.cast(x, "f32"));
    await assertClose(d.sum(wrong), [0], exactly);
  });
  d.trimPool();
});

const limit = d.deviceError() ? 0 : d.deviceInfo().maxBindingBytes / 4;
Deno.test({
  name: "copies go past one binding where rows lie in order",
  ignore: limit === 0 || limit > 2 ** 25,
  fn: async () => {
    const rows = 2053, cols = 8 * Math.ceil(limit / rows / 8) + 8;
    await d.scope(async () => {
      const x = d.expand(d.reshape(count([rows]), [rows, 1]), [rows, cols]);
      const column = d.narrow(x, 1, cols - 1, cols); // does not begin at 0
      await assertClose(column, count([rows, 1]), exactly);
      const flipped = d.flip(x, 1);
      await assertClose(d.narrow(flipped, 1, 3, 4), count([rows, 1]), exactly);
    });
    d.trimPool();
  },
});

Deno.test("shapes that do not fit are named", () => {
  const x = d.zeros([2, 3]);
  throws(() => d.reshape(x, [4]), /x is \[2, 3\], shape is \[4\]/);
  throws(() => d.reshape(x, [-1, -1]), TypeError);
  throws(() => d.reshape(d.zeros([0]), [-1, 0]), TypeError);
  throws(() => d.expand(x, [2, 4]), /x is \[2, 3\], shape is \[2, 4\]/);
  throws(() => d.expand(x, [3]), TypeError);
  throws(() => d.permute(x, [0]), /every axis must be named once/);
  throws(() => d.permute(x, [0, 0]), /given twice/);
  throws(() => d.transpose(d.zeros([3])), RangeError);
  throws(() => d.slice(x, [0, 0, 0]), /fewer axes than starts/);
  throws(() => d.slice(x, [0], [2], [0]), /whole and positive: 0/);
  throws(() => d.squeeze(x, 0), /must have length 1/);
  throws(() => d.flatten(x, 1, 0), /axes must be in order/);
  throws(() => d.concat([]), /the list is empty/);
  throws(
    () => d.concat([x, d.zeros([3, 2])]),
    /first is \[2, 3\], other is \[3, 2\]/,
  );
  throws(() => d.concat([x, d.zeros([2, 3], "i32")]), /other is i32\[2, 3\]/);
  throws(() => d.pad(x, [1]), /two numbers per axis/);
  throws(() => d.pad(x, [-2, -2]), /lose more than its length/);
  throws(() => d.repeat(x, [2]), /a number per axis/);
});

Deno.test("narrow(), slice() and concat() work past one binding", {
  ignore: d.deviceInfo().maxBindingBytes > 1 << 28, // such tensors are too large for a test
}, async () => {
  const rows = 300;
  const columns = Math.ceil(d.deviceInfo().maxBindingBytes / 4 / rows) + 10_001;
  await d.scope(async () => {
    // Every row holds its index, so that a wrong place shows.
    const index = d.reshape(
      d.tensor(Float32Array.from({ length: rows }, (_, i) => i)),
      [rows, 1],
    );
    const x = d.expand(index, [rows, columns]);
    for (const [from, to] of [[1, 2], [17, 50], [280, 300]] as const) {
      const part = d.narrow(x, 0, from, to);
      const got = await d.mean(part, { axis: 1 }).data();
      await assertClose(
        got,
        Array.from({ length: to - from }, (_, i) => from + i),
      );
    }
    const strided = d.slice(x, [250, 5], [300, columns], [1, 3]);
    const ends = await d.max(strided, { axis: 1 }).data();
    equal(ends[0], 250);
    equal(ends[49], 299);
    const joined = d.concat([
      d.full([280, columns], 1),
      d.full([20, columns], 3),
    ]);
    const sums = await d.mean(joined, { axis: 1 }).data();
    await assertClose(
      sums,
      Array.from({ length: rows }, (_, i) => i < 280 ? 1 : 3),
    );
  });
});
