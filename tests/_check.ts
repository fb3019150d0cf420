/**
 * What tests of ops share: closeness with a useful message, and gradients by central differences.
 *
 * @module
 */
import {
  gradients,
  mul,
  noGrad,
  Rng,
  scope,
  sum,
  type Tensor,
  tensor,
} from "../mod.ts";

/** How far apart two numbers may be: `|got - want| <= atol + rtol * |want|`. */
export interface Tolerance {
  atol?: number;
  rtol?: number;
}

/** Throws unless both hold the same numbers, within the tolerance; names the worst element. */
export async function assertClose(
  got: Tensor | ArrayLike<number>,
  want: Tensor | ArrayLike<number>,
  { atol = 1e-6, rtol = 1e-5 }: Tolerance = {},
): Promise<void> {
  if (
    "shape" in got && "shape" in want && got.shape.join() !== want.shape.join()
  ) {
    throw new Error(`Shapes differ: got [${got.shape}], want [${want.shape}]`);
  }
  const a = "data" in got ? await got.data() : got;
  const b = "data" in want ? await want.data() : want;
  if (a.length !== b.length) {
    throw new Error(`Sizes differ: got ${a.length}, want ${b.length}`);
  }
  let worst = -1, excess = 0;
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i])) continue;
    const over = Math.abs(a[i]! - b[i]!) - atol - rtol * Math.abs(b[i]!);
    if (!(over <= excess)) {
      [worst, excess] = [i, Number.isNaN(over) ? Infinity : over];
    }
  }
  if (worst >= 0) {
    throw new Error(
      `Element ${worst} of ${a.length} is ${a[worst]}, want ${b[worst]} ` +
        `(off by ${
          Math.abs(a[worst]! - b[worst]!)
        }, allowed atol ${atol} + rtol ${rtol})`,
    );
  }
}

/**
 * Compares the gradients of `f` with central differences, for every element of every input.
 * `f` may return any shape: a fixed random weighting makes it one number.
 */
export async function assertGradient(
  f: (...inputs: Tensor[]) => Tensor,
  inputs: Tensor[],
  { atol = 1e-2, rtol = 1e-2, step = 1e-2 }: Tolerance & { step?: number } = {},
): Promise<void> {
  const shape = scope(() => noGrad(() => f(...inputs)).shape);
  const weights = new Rng(99).uniform(shape, 0.5, 1.5);
  const loss = (...at: Tensor[]) => sum(mul(f(...at), weights));
  const leaves = inputs.map((input) => input.detach().requireGrad());
  const analytic = await Promise.all(
    scope(() => gradients(loss(...leaves), leaves)).map((gradient) =>
      gradient.data()
    ),
  );
  const hosts = await Promise.all(inputs.map((input) => input.data()));
  for (const [which, host] of hosts.entries()) {
    const losses = scope(() =>
      noGrad(() =>
        Array.from(host, (_, i) =>
          [step, -step].map((by) => {
            const moved = Float32Array.from(host);
            moved[i]! += by;
            const at = inputs.with(which, tensor(moved, inputs[which]!.shape));
            return scope(() => loss(...at));
          })).flat()
      )
    );
    const values = await Promise.all(losses.map((value) => value.item()));
    for (const value of losses) value.dispose();
    const numeric = Float64Array.from(
      host,
      (_, i) => (values[2 * i]! - values[2 * i + 1]!) / (2 * step),
    );
    try {
      await assertClose(analytic[which]!, numeric, { atol, rtol });
    } catch (error) {
      throw new Error(
        `Gradient of input ${which}: ${(error as Error).message}`,
      );
    }
  }
}
