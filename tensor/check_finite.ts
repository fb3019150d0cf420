/**
 * A mode that names the first operation whose output or gradient is not finite.
 *
 * @module
 */
import { keep, noGrad } from "./context.ts";
import { Kernel } from "./kernel.ts";
import { overwrite, Tensor } from "./tensor.ts";
import source from "./check_finite.wgsl" with { type: "text" };

const NONE = 0xffffffff;
const kernel = new Kernel("check_finite", source);
let enabled = false;
let found: Tensor | null = null;
let labels: string[] = [];

/**
 * Turns the check of every op's output and gradient for NaN and infinity on or off. It costs one
 * more dispatch per op; `assertFinite` then reports.
 */
export function detectAnomaly(on: boolean): void {
  enabled = on;
  labels = [];
  if (!on) return;
  found ??= keep(new Tensor([1], "u32"));
  overwrite(found, new Uint32Array([NONE]));
}

/** Notes whether `tensor` holds a value that is not finite. @internal */
export function checkFinite(tensor: Tensor, label: string): void {
  if (!enabled || tensor.dtype !== "f32") return;
  labels.push(`${label}, shape [${tensor.shape.join(", ")}]`);
  const params = { n: tensor.size, id: labels.length - 1 };
  noGrad(() =>
    kernel.run("check", params, { x: tensor, found: found! }, {
      workgroups: ({ n }) => Math.ceil(Number(n) / 64),
      splitBy: "n",
      split: ["x"],
    })
  );
}

/**
 * Throws if an op has produced NaN or infinity since `detectAnomaly(true)` or the last call.
 *
 * @throws {RangeError} Naming the first such op and its shape.
 */
export async function assertFinite(): Promise<void> {
  if (!enabled) return;
  const id = await found!.item();
  const label = labels[id];
  detectAnomaly(true);
  if (id !== NONE) {
    throw new RangeError(`Found NaN or infinity first in ${label}`);
  }
}
