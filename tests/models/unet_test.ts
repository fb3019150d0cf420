import assert from "node:assert/strict";
import { gradients, mseLoss, Rng, scope, tensor, UNet } from "../../mod.ts";

/** Parameters of the form in Ho et al. 2020, by their code's own arithmetic. */
const HO = {
  inChannels: 3,
  channels: 128,
  multipliers: [1, 2, 2, 2],
  resBlocks: 2,
};

Deno.test("UNet has 35,746,307 parameters in the CIFAR-10 form of Ho et al.", () => {
  scope(() => {
    const unet = new UNet(
      { ...HO, attentionLevels: [1], groups: 32 },
      new Rng(0),
    );
    assert.equal(unet.parameterCount, 35_746_307);
    const names = Object.keys(unet.namedParameters());
    for (
      const name of [
        "temb.dense.0.weight",
        "conv_in.bias",
        "down.0.block.1.conv2.weight",
        "down.1.attn.0.proj_out.weight",
        "down.2.downsample.conv.weight",
        "mid.attn_1.q.weight",
        "up.3.block.2.nin_shortcut.weight",
        "up.1.upsample.conv.bias",
        "norm_out.weight",
        "conv_out.weight",
      ]
    ) assert.ok(names.includes(name), name);
    unet.dispose();
  });
});

const SMALL = {
  inChannels: 1,
  channels: 8,
  multipliers: [1, 2],
  resBlocks: 1,
  attentionLevels: [1],
  groups: 4,
};

Deno.test("UNet predicts almost nothing at first, and learns", async () => {
  const rng = new Rng(1);
  const unet = new UNet(SMALL, rng);
  const x = rng.normal([2, 1, 8, 8]), t = tensor([0, 999]);
  const y = unet.forward(x, t);
  assert.deepEqual(y.shape, x.shape);
  const data = await y.data();
  assert.ok(
    data.every((value) => Math.abs(value) < 1e-3),
    "the last layer starts near zero",
  );
  const parameters = unet.parameters();
  const found = scope(() =>
    gradients(mseLoss(unet.forward(x, t), x), parameters)
  );
  const last = found.at(-2)!; // conv_out.weight
  assert.ok((await last.data()).some((value) => Math.abs(value) > 1e-3));
});

Deno.test("UNet with classes depends on them", async () => {
  const rng = new Rng(2);
  const unet = new UNet({ ...SMALL, numClasses: 4 }, rng);
  assert.deepEqual(unet.label_emb!.weight.shape, [4, 32]);
  const x = rng.normal([2, 1, 8, 8]), t = tensor([10, 10]);
  assert.throws(() => unet.forward(x, t), /needs classes y/);
  const y = unet.forward(x, t, { y: tensor([0, 3], [2], "i32") });
  assert.deepEqual(y.shape, x.shape);
  await y.data();
});

Deno.test("UNet explains shapes that do not fit", () => {
  const rng = new Rng(3);
  const unet = new UNet(SMALL, rng);
  assert.throws(
    () => unet.forward(rng.normal([2, 1, 7, 8]), tensor([0, 1])),
    /sides divisible by 2/,
  );
  assert.throws(
    () => unet.forward(rng.normal([2, 3, 8, 8]), tensor([0, 1])),
    /1 channels/,
  );
  assert.throws(
    () => unet.forward(rng.normal([2, 1, 8, 8]), tensor([0])),
    /a timestep per image/,
  );
});
