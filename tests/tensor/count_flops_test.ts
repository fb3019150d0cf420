import assert from "node:assert/strict";
import {
  add,
  attention,
  conv2d,
  ConvDenoiser,
  convTranspose2d,
  countFlops,
  type DenoiserNetwork,
  DomeUNet,
  groupNorm,
  LayerNormUNet,
  linear,
  matmul,
  memory,
  Rng,
  silu,
  SongUNet,
  tensor,
  UNet,
  upsampleConv2d,
  upsampleNearest,
  zeros,
} from "../../mod.ts";
import { flashAttention } from "../../kernels/attention.ts";
import { Zeros } from "../models/_denoisers.ts";

Deno.test("countFlops() counts two operations for each multiplication with its addition", () => {
  const x = zeros([2, 4, 8, 10]);
  const of = {
    // [2, 6, 4, 5], from windows of 4 channels; of 2 channels in two groups
    conv2d: [
      () =>
        conv2d(x, zeros([6, 4, 3, 3]), zeros([6]), { stride: 2, padding: 1 }),
      2 * (2 * 6 * 4 * 5) * (4 * 9),
    ],
    groups: [
      () =>
        conv2d(x, zeros([6, 2, 1, 3]), undefined, {
          groups: 2,
          padding: [0, 1],
        }),
      2 * (2 * 6 * 8 * 10) * (2 * 3),
    ],
    // Each pixel of x adds a window of 6 channels.
    convTranspose2d: [
      () => convTranspose2d(x, zeros([4, 6, 4, 4]), undefined, { stride: 2 }),
      2 * (2 * 4 * 8 * 10) * (6 * 16),
    ],
    linear: [
      () => linear(zeros([3, 5, 7]), zeros([11, 7]), zeros([11])),
      2 * (3 * 5) * 7 * 11,
    ],
    matmul: [
      () => matmul(zeros([3, 1, 5, 7]), zeros([2, 7, 11])),
      2 * (3 * 2) * 5 * 7 * 11,
    ],
    transposed: [
      () =>
        matmul(zeros([4, 7, 5]), zeros([11, 7]), {
          transposeA: true,
          transposeB: true,
        }),
      2 * 4 * 5 * 7 * 11,
    ],
    elementwise: [() => silu(add(groupNorm(x, 2), 1)), 0],
    nothing: [() => {}, 0],
  } as const;
  for (const [name, [body, want]] of Object.entries(of)) {
    assert.equal(countFlops(body), want, name);
  }
});

Deno.test("countFlops() counts attention in all its forms alike", () => {
  const q = zeros([2, 3, 5, 8]), k = zeros([3, 7, 8]), v = zeros([3, 7, 12]);
  const want = 2 * (2 * 3) * 5 * 7 * (8 + 12);
  assert.equal(countFlops(() => attention(q, k, v)), want);
  assert.equal(countFlops(() => flashAttention(q, k, v, 1, false)), want);
});

Deno.test("countFlops() counts upsampleConv2d() as what it stands for", () => {
  const x = zeros([2, 4, 5, 7]), weight = zeros([6, 4, 3, 3]);
  for (const [scale, padding] of [[2, 1], [3, 0]] as const) {
    const long = () =>
      conv2d(upsampleNearest(x, { scale }), weight, undefined, { padding });
    const short = () =>
      upsampleConv2d(x, weight, undefined, { scale, padding });
    assert.equal(countFlops(short), countFlops(long));
  }
});

// Billions, as found by counting the layers of the published networks.
for (
  const [name, want, [channels, side], make] of [
    [
      "Ho et al.'s U-Net",
      12.44,
      [3, 32],
      (rng) => new UNet({ inChannels: 3 }, rng),
    ],
    ["a smaller one, at 28 pixels,", 2.4, [3, 28], (rng) =>
      new UNet({
        inChannels: 3,
        channels: 64,
        multipliers: [1, 2, 2],
      }, rng)],
    [
      "EDM's DDPM++",
      42.4,
      [3, 32],
      (rng) => new SongUNet({ imageSize: 32, inChannels: 3 }, rng),
    ],
    ["a smaller one", 0.87, [3, 32], (rng) =>
      new SongUNet({
        imageSize: 32,
        inChannels: 3,
        channels: 32,
        multipliers: [1, 2],
        blocks: 2,
      }, rng)],
    [
      "dome272's U-Net",
      3.71,
      [3, 32],
      (rng) => new DomeUNet({ inChannels: 3 }, rng),
    ],
    [
      "one of two levels",
      4.74,
      [3, 32],
      (rng) => new DomeUNet({ inChannels: 3, variant: "2xud" }, rng),
    ],
    [
      "a convolutional denoiser",
      0.41,
      [3, 32],
      (rng) => new ConvDenoiser({ inChannels: 3 }, rng),
    ],
    [
      "a U-Net with layer norm",
      0.05,
      [1, 28],
      (rng) => new LayerNormUNet({ inChannels: 1 }, rng),
    ],
  ] as [string, number, [number, number], (rng: Rng) => DenoiserNetwork][]
) {
  Deno.test(`countFlops() of ${name} is ${want} billion`, () => {
    const net = make(new Zeros());
    const x = zeros([1, channels, side, side]), t = zeros([1]);
    const billions = countFlops(() => net.forward(x, t)) / 1e9;
    net.dispose();
    assert.ok(Math.abs(billions / want - 1) < 0.02, `${billions}`);
  });
}

Deno.test("countFlops() computes, takes and draws nothing, and takes part in no gradient", async () => {
  const rng = new Rng(3), weight = rng.normal([64, 8, 3, 3]).requireGrad();
  const { bytesInUse } = memory({ resetPeak: true });
  const { calls } = rng.state;
  let seen;
  const flops = countFlops(() => {
    seen = conv2d(rng.normal([1000, 8, 32, 32]), weight);
    assert.equal(seen.node, null);
  });
  assert.equal(flops, 2 * (1000 * 64 * 30 * 30) * (8 * 9));
  assert.equal(memory().peakBytes, bytesInUse);
  assert.equal(rng.state.calls, calls);
  assert.ok(seen!.isDisposed);
  // What comes after runs as ever.
  assert.equal(await matmul(tensor([[2]]), tensor([[3]])).item(), 6);
});

Deno.test("countFlops() explains what it cannot take down", () => {
  assert.throws(
    () => countFlops(async () => await Promise.resolve()),
    /the function must not be asynchronous/,
  );
  assert.throws(() => countFlops(() => tensor([1])), /make the tensor outside/);
});
