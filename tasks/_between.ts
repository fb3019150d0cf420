/**
 * Rows of noises, each on the way from one to another.
 *
 * @module
 */
import { narrow, reshape, slerp, stack, type Tensor } from "../mod.ts";

/**
 * Of all noises on the ways between pairs, `way` to each, those from number `from` on.
 *
 * @param noise Standard normals `[n, ...]` from number `row` on; way i leads from 2i to 2i + 1.
 * @returns `[n, ...]`, as long as the noises that they lie between.
 */
export async function between(
  noise: (n: number, row: number) => Tensor,
  { from, n, way }: { from: number; n: number; way: number },
): Promise<Tensor> {
  const firstWay = Math.floor(from / way);
  const ways = Math.ceil((from + n) / way) - firstWay;
  const ends = noise(2 * ways, 2 * firstWay);
  const [, ...one] = ends.shape as [number, ...number[]];
  const pairs = reshape(ends, [ways, 2, ...one]);
  const [a, b] = [0, 1].map((end) =>
    reshape(narrow(pairs, 1, end, end + 1), [ways, ...one])
  );
  const steps: Tensor[] = [];
  for (let j = 0; j < way; j++) {
    steps.push(await slerp(a!, b!, way === 1 ? 0 : j / (way - 1)));
  }
  const all = reshape(stack(steps, 1), [ways * way, ...one]);
  return narrow(all, 0, from - firstWay * way, from - firstWay * way + n);
}
