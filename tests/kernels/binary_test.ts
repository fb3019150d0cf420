import { equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(15);
const exactly = { atol: 0, rtol: 0 };
type Pair = (a: d.Tensor | number, b: d.Tensor | number) => d.Tensor;

/** Name, function, its value in doubles, whether it has gradients. */
const CASES: [string, Pair, (a: number, b: number) => number, boolean][] = [
  ["add", d.add, (a, b) => a + b, true],
  ["sub", d.sub, (a, b) => a - b, true],
  ["mul", d.mul, (a, b) => a * b, true],
  ["div", d.div, (a, b) => a / b, true],
  ["pow", d.pow, (a, b) => a ** b, true],
  ["maximum", d.maximum, Math.max, true],
  ["minimum", d.minimum, Math.min, true],
  ["equal", d.equal, (a, b) => Number(a === b), false],
  ["notEqual", d.notEqual, (a, b) => Number(a !== b), false],
  ["less", d.less, (a, b) => Number(a < b), false],
  ["lessEqual", d.lessEqual, (a, b) => Number(a <= b), false],
  ["greater", d.greater, (a, b) => Number(a > b), false],
  ["greaterEqual", d.greaterEqual, (a, b) => Number(a >= b), false],
];

/** Shapes of a and b, and what they stretch to. */
const SHAPES: [number[], number[], number[]][] = [
  [[], [], []],
  [[1], [], [1]],
  [[263], [263], [263]],
  [[7], [], [7]],
  [[1, 1], [3, 5], [3, 5]],
  [[3, 5], [5], [3, 5]],
  [[3, 1], [1, 5], [3, 5]],
  [[2, 3, 67], [3, 1], [2, 3, 67]],
  [[5], [2, 1, 3, 1], [2, 1, 3, 5]],
  [[2, 1, 3, 1, 2, 1], [3, 1, 2, 1, 3], [2, 3, 3, 2, 2, 3]],
  // Last axes of a multiple of four: equal, repeated, beside rows that do not begin at one.
  [[3, 8], [8], [3, 8]],
  [[3, 1], [1, 8], [3, 8]],
  [[2, 3, 2, 68], [3, 1, 1], [2, 3, 2, 68]],
  [[2, 1, 12], [3, 1], [2, 3, 12]],
  [[2, 1, 2, 1, 2, 1, 2, 4], [2, 1, 2, 1, 2, 1, 4], [2, 2, 2, 2, 2, 2, 2, 4]],
  [[0, 3], [3], [0, 3]],
  [[1], [0], [0]],
];

/** Element `i` of the broadcast shape `to`, of a row-major array of `shape`. */
function stretched(
  data: ArrayLike<number>,
  shape: number[],
  to: number[],
  i: number,
): number {
  let offset = 0, stride = 1;
  for (let axis = to.length - 1; axis >= 0; axis--) {
    const own = shape[axis - to.length + shape.length] ?? 1;
    if (own > 1) offset += (i % to[axis]!) * stride;
    stride *= own;
    i = Math.floor(i / to[axis]!);
  }
  return data[offset]!;
}

/** Positive, with ties between any two of them. */
function draw(shape: number[]): d.Tensor {
  return d.scale(d.cast(rng.integers(shape, 1, 9), "f32"), 0.25);
}

for (const [name, f, exact, differentiable] of CASES) {
  Deno.test(`${name}() broadcasts all pairs of shapes, both ways`, async () => {
    const both = SHAPES.flatMap(([p, q, to]) =>
      [[p, q, to], [q, p, to]] as const
    );
    // All at once, as every wait for the device takes 10 ms.
    await Promise.all(both.map(async ([a, b, to]) => {
      const x = draw(a), y = draw(b);
      const [xs, ys] = await Promise.all([x.data(), y.data()]);
      const want = Float32Array.from(
        { length: to.reduce((m, n) => m * n, 1) },
        (_, i) => exact(stretched(xs, a, to, i), stretched(ys, b, to, i)),
      );
      await assertClose(f(x, y), d.tensor(want, to), { rtol: 3e-6 });
    }));
  });

  Deno.test(`${name}() takes a number on either side`, async () => {
    const x = draw([7]), xs = await x.data();
    await assertClose(f(x, 1.5), Float64Array.from(xs, (v) => exact(v, 1.5)), {
      rtol: 3e-6,
    });
    await assertClose(f(1.5, x), Float64Array.from(xs, (v) => exact(1.5, v)), {
      rtol: 3e-6,
    });
    await assertClose(f(2, 3), [exact(2, 3)], { rtol: 3e-6 });
  });

  Deno.test(`${name}() has ${differentiable ? "the right gradients" : "no gradient"}`, async () => {
    if (!differentiable) {
      const a = d.ones([3]).requireGrad();
      const [da] = d.gradients(d.add(d.sum(f(a, a)), d.sum(a)), [a]);
      return await assertClose(da!, [1, 1, 1], exactly);
    }
    const shapes = [[[7], [7]], [[2, 3, 2], [3, 1]], [[], [5]], [[5], [1, 1]]];
    const step = 3e-3;
    await Promise.all([
      ...shapes.flatMap(([p, q]) => {
        // Apart by more than the step, as the larger of two has a corner.
        const a = rng.uniform(p!, 0.5, 0.9), b = rng.uniform(q!, 1, 1.4);
        return [[a, b], [b, a]].map((inputs) =>
          assertGradient(f, inputs, { step })
        );
      }),
      assertGradient((x) => f(x, 1.7), [rng.uniform([5], 0.5, 1.5)], { step }),
      assertGradient((x) => f(1.7, x), [rng.uniform([5], 0.5, 1.5)], { step }),
    ]);
  });
}

Deno.test("an operand may be used on both sides", async () => {
  const x = d.tensor([3, -2]).requireGrad();
  for (
    const [y, want] of [
      [d.add(x, x), [2, 2]],
      [d.sub(x, x), [0, 0]],
      [d.mul(x, x), [6, -4]],
      [d.div(x, x), [0, 0]],
      [d.maximum(x, x), [1, 1]],
    ] as const
  ) await assertClose(d.gradients(d.sum(y), [x])[0]!, want);
});

Deno.test("maximum() and minimum() split the gradient on a tie", async () => {
  const a = d.tensor([1, 2]).requireGrad(), b = d.tensor([1, 1]).requireGrad();
  const [da, db] = d.gradients(d.sum(d.maximum(a, b)), [a, b]);
  await assertClose(da!, [0.5, 1], exactly);
  await assertClose(db!, [0.5, 0], exactly);
  await assertClose(
    d.gradients(d.sum(d.minimum(a, b)), [b])[0]!,
    [0.5, 1],
    exactly,
  );
});

Deno.test("pow() knows negative bases, zero and their gradients", async () => {
  const a = d.tensor([-2, -2, -2, 0, 0, 0]).requireGrad();
  const y = d.pow(a, d.tensor([3, 2, -1, 0, 1, 2]));
  await assertClose(y, [-8, 4, -0.5, 1, 0, 0]);
  await assertClose(d.gradients(d.sum(y), [a])[0]!, [12, -4, -0.25, 0, 1, 0]);
  await assertClose(d.pow(d.tensor([0, 0]), d.tensor([-1, -0.5])), [
    Infinity,
    Infinity,
  ]);
});

Deno.test("operands that do not fit are named", () => {
  throws(
    () => d.add(d.zeros([2, 3]), d.zeros([4])),
    /Cannot apply add .* a is \[2, 3\], b is \[4\]/,
  );
  throws(
    () => d.mul(d.zeros([2]), d.zeros([2], "i32")),
    /a is f32\[2\], b is i32\[2\]/,
  );
  const many = Array.from({ length: 10 }, (_, i) => i % 2 ? 2 : 1);
  const other = many.map((n) => 3 - n);
  throws(() => d.add(d.zeros(many), d.zeros(other)), /at most 8 axes/);
  equal(d.add(d.zeros(many), d.zeros(many)).rank, 10);
});

Deno.test("elementwise ops go past 65535 workgroups", async () => {
  const n = 65536 * 64 + 5; // one invocation per element when broadcast, and flat beside it
  await d.scope(async () => {
    const x = d.add(d.full([n], 1), d.tensor([2]));
    const tail = d.tensor([[1], [2]]);
    const wide = d.mul(
      d.reshape(d.narrow(x, 0, 0, n - 5), [2, 65536 * 32]),
      tail,
    );
    const ends = [d.narrow(x, 0, n - 5, n), d.slice(wide, [1, 65536 * 32 - 2])];
    await assertClose(ends[0]!, [3, 3, 3, 3, 3], exactly);
    await assertClose(ends[1]!, [6, 6], exactly);
    await assertClose(d.sum(x), [3 * n], { rtol: 1e-6 });
  });
  d.trimPool();
});

// A GPU binds gigabytes at once: too much for a test.
const limit = d.deviceError() ? 0 : d.deviceInfo().maxBindingBytes / 4;
Deno.test({
  name: "elementwise ops and sums go past one binding",
  ignore: limit === 0 || limit > 2 ** 25,
  fn: async () => {
    const n = 3 * Math.ceil(limit / 3 + 333_333);
    await d.scope(async () => {
      const one = d.full([n], 1);
      const two = d.add(one, one);
      one.dispose();
      const got = [d.sum(two), d.max(two), d.min(two)];
      await assertClose(d.stack(got), [2 * n, 2, 2], { rtol: 1e-6 });
      const columns = d.sum(d.reshape(two, [-1, 3]), { axis: 0 });
      await assertClose(columns, [0, 1, 2].map(() => 2 * n / 3), {
        rtol: 1e-6,
      });
      const rows = d.sum(d.reshape(two, [3, -1]), { axis: 1 });
      await assertClose(rows, [0, 1, 2].map(() => 2 * n / 3), { rtol: 1e-6 });
    });
    d.trimPool();
  },
});
