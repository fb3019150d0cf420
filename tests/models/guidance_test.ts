import assert from "node:assert/strict";
import { dynamicThreshold, Rng, slerp, tensor } from "../../mod.ts";
import { assertClose } from "../_check.ts";

Deno.test("dynamicThreshold() scales each image by its own quantile, but none up", async () => {
  const rng = new Rng(1);
  const data = [0.3, 1.5, 8].map((std) =>
    [...rng.permutation(200)].map((i) => std * (i - 99.5) / 50)
  );
  const want = data.flatMap((image) => {
    const sizes = image.map(Math.abs).sort((a, b) => a - b);
    const place = 0.995 * 199, below = Math.floor(place);
    const q = sizes[below]! +
      (place - below) * (sizes[below + 1]! - sizes[below]!);
    const s = Math.max(1, q);
    return image.map((x) => Math.max(-s, Math.min(s, x)) / s);
  });
  const x0 = tensor(Float32Array.from(data.flat()), [3, 2, 10, 10]);
  await assertClose(
    dynamicThreshold(x0),
    tensor(Float32Array.from(want), x0.shape),
  );
});

Deno.test("slerp() keeps the length of noise and ends where it should", async () => {
  const rng = new Rng(2);
  const [a, b] = [rng.normal([3, 4, 5]), rng.normal([3, 4, 5])];
  await assertClose(await slerp(a, b, 0), a);
  await assertClose(await slerp(a, b, 1), b);
  const [from, to] = [await a.data(), await b.data()];
  const middle = await (await slerp(a, b, 0.3)).data();
  for (let n = 0; n < 3; n++) {
    const [u, v, w] = [from, to, middle].map((
      x,
    ) => [...x.slice(20 * n, 20 * n + 20)]);
    const dot = (x: number[], y: number[]) =>
      x.reduce((sum, xi, i) => sum + xi * y[i]!, 0);
    const angle = Math.acos(dot(u!, v!) / Math.sqrt(dot(u!, u!) * dot(v!, v!)));
    const want = u!.map((x, i) =>
      (Math.sin(0.7 * angle) * x + Math.sin(0.3 * angle) * v![i]!) /
      Math.sin(angle)
    );
    await assertClose(w!, want);
  }
  // Of equal directions the weighted mean is left.
  await assertClose(
    await slerp(tensor([[1, 2]]), tensor([[2, 4]]), 0.25),
    tensor([[1.25, 2.5]]),
  );
  await assert.rejects(
    slerp(a, tensor([[1]]), 0.5),
    /both must have one shape/,
  );
});
