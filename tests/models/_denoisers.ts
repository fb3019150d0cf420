/**
 * What tests of all denoisers ask.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type DenoiserInputs,
  type DenoiserNetwork,
  gradients,
  mseLoss,
  Rng,
  scope,
  SGD,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";

/** Draws zeros, which takes no time: for large networks of which only shapes matter. */
export class Zeros extends Rng {
  /** Takes no seed. */
  constructor() {
    super(0);
  }

  override uniform(shape: readonly number[]): Tensor {
    return zeros(shape);
  }

  override normal(shape: readonly number[]): Tensor {
    return zeros(shape);
  }
}

/** Losses before and after a step down the gradient, which must have reached every parameter but these. */
export async function assertLearns(
  net: DenoiserNetwork,
  shape: readonly [number, number, number, number],
  options:
    & { learningRate?: number; unused?: readonly string[] }
    & DenoiserInputs = {},
): Promise<void> {
  const { learningRate = 0.01, unused = [], ...inputs } = options;
  const rng = new Rng(5);
  const x = rng.normal(shape);
  const t = tensor(Array.from({ length: shape[0] }, (_, i) => 7 + 300 * i));
  const loss = () => mseLoss(net.forward(x, t, inputs), x);
  const named = net.namedParameters();
  const [before, ...found] = scope(() => {
    const before = loss();
    return [before, ...gradients(before, Object.values(named))];
  });
  for (const [i, name] of Object.keys(named).entries()) {
    const reached = (await found[i]!.data()).some((value) => value !== 0);
    assert.equal(reached, !unused.includes(name), `gradient of ${name}`);
  }
  new SGD(net, { learningRate }).step(found);
  const [old, now] = [await before!.item(), await loss().item()];
  assert.ok(now < old, `loss goes from ${old} to ${now}`);
}

/** The network's answer to the same image as each class. */
export async function answers(
  net: DenoiserNetwork,
  shape: readonly number[],
  classes: readonly number[],
): Promise<Float32Array[]> {
  const x = new Rng(6).normal([1, ...shape]), t = tensor([10]);
  const answer = (y: number): Tensor =>
    net.forward(x, t, { y: tensor([y], [1], "i32") });
  return await Promise.all(
    classes.map(async (y) => Float32Array.from(await answer(y).data())),
  );
}

/** Checks the errors that all denoisers have; `shape`: of an image that fits. */
export function assertExplains(
  net: DenoiserNetwork,
  conditional: DenoiserNetwork,
  shape: readonly [number, number, number],
): void {
  const rng = new Rng(7);
  const [channels, height, width] = shape;
  const x = rng.normal([2, ...shape]), t = tensor([0, 1]);
  const y = tensor([0, 1], [2], "i32");
  assert.throws(
    () => net.forward(rng.normal([2, channels + 1, height, width]), t),
    new RegExp(`must have ${channels} channels`),
  );
  assert.throws(
    () => net.forward(rng.normal([2, channels, height, width - 1]), t),
    /and sides (of|divisible by)/,
  );
  assert.throws(() => net.forward(x, tensor([0])), /a timestep per image/);
  assert.throws(() => net.forward(x, t, { y }), /knows no classes/);
  assert.throws(() => conditional.forward(x, t), /needs classes y/);
  assert.throws(
    () => conditional.forward(x, t, { y: tensor([0], [1], "i32") }),
    /a class per image/,
  );
}
