import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { UsageError } from "../../tasks/_cli.ts";
import { resolveConfig } from "../../tasks/_config.ts";
import { DdpmModel } from "../../tasks/_ddpm.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  type DdpmConfig,
  ddpmSchema,
} from "../../tasks/_ddpm_config.ts";
import {
  checkImageSize,
  networkOf,
  NETWORKS,
} from "../../tasks/_network_config.ts";
import { type DataShape, Trainer } from "../../tasks/_trainer.ts";

/** The configuration of digits, with changes. */
function configOf(...sets: string[]): Promise<DdpmConfig> {
  return resolveConfig({
    schema: ddpmSchema,
    preset: "ddpm-digits",
    presetPrefix: DDPM_PRESET_PREFIX,
    exclusive: DDPM_EXCLUSIVE,
    sets,
  });
}

/** The message with which a configuration is refused. */
async function refusal(...sets: string[]): Promise<string> {
  try {
    await configOf(...sets);
  } catch (error) {
    ok(error instanceof UsageError, String(error));
    return error.message;
  }
  throw new Error(`Accepted: ${sets}`);
}

/** Small networks, some of each kind, with most of their keys. */
const SMALL = [
  "unet={channels: 8, multipliers: [1, 2], groups: 4, dropout: 0.1}",
  "adm={channels: 8, multipliers: [1, 2], groups: 4, heads: 2, attentionResolutions: [6]}",
  "adm={channels: 8, multipliers: [1, 2], groups: 4, headChannels: 8, updown: resBlock, " +
  "attentionOrder: new, adaptiveGroupNorm: false, rescaleResiduals: true, checkpoint: true, dropout: 0.1}",
  "dome={layout: {inc: 8, down: [16], bot: [16], up: [8]}, timeDim: 16, heads: 2}",
  "song={channels: 8, blocks: 1, augmentDim: 9}",
  "song={channels: 8, blocks: 1, embedding: fourier, noiseMultiplier: 2, encoder: residual, " +
  "resampleFilter: [1, 3, 3, 1], dropout: 0.1}",
  "conv={channels: 8, levels: 2, timeDim: 16}",
  "layerNormUnet={channels: 4, timeDim: 16, activation: silu}",
];
const SHAPE: DataShape = {
  channels: 1,
  height: 12, // the smallest side that all of them take
  width: 12,
  classNames: ["a", "b"],
};

Deno.test("a network given replaces that of the preset", async () => {
  const names = new Set<string>();
  for (const set of SMALL) {
    const config = await configOf(set);
    const name = networkOf(config);
    equal(name, set.slice(0, set.indexOf("=")));
    const there = NETWORKS.filter((other) => config[other] !== undefined);
    deepEqual(there, [name]);
    names.add(name);
  }
  equal(names.size, NETWORKS.length); // every section is tried here
  match(
    await refusal("dome={}", "conv={}"),
    /^Give only one of --set dome=\{\} and --set conv=\{\}$/,
  );
});

Deno.test("every network trains and samples, with classes and a learned variance", async () => {
  const n = 4, size = n * 12 * 12;
  const batch = {
    images: Float32Array.from({ length: size }, (_, i) => Math.sin(i)),
    labels: Int32Array.from([0, 1, 0, 1]),
  };
  for (const set of SMALL) {
    const isSong = set.startsWith("song");
    const config = await configOf(
      set,
      `batchSize=${n}`,
      "conditional=true",
      "labelDropout=0.2",
      "diffusion.timesteps=20",
      "samples.steps=2",
      "samples.count=2",
      "samples.guidance=2",
      ...(isSong
        ? ["loss.type=edm", "samples.sampler=heun"]
        : ["loss.type=hybrid", "diffusion.variance=learned_range"]),
    );
    checkImageSize(config, SHAPE);
    const model = new DdpmModel(config, SHAPE);
    ok(model.flops() > 0);
    const trainer = new Trainer(model);
    const before = await model.network.parameters().at(-1)!.data();
    for (let step = 0; step < 2; step++) await trainer.train(batch as never);
    const { loss } = await trainer.takeLosses();
    ok(Number.isFinite(loss), `${set}: ${loss}`);
    const after = await model.network.parameters().at(-1)!.data();
    ok(after.some((value, i) => value !== before[i]), set);
    const picture = await trainer.picture(() => false);
    equal(picture!.bytes.length, 2 * 12 * 12, set);
    model.network.dispose();
  }
});

Deno.test("networks say which keys do not go together", async () => {
  const cases: Record<string, string> = {
    "adm={channels: 12, groups: 8}":
      "adm.groups must be a divisor of the channels of every level, 12, 24, 24",
    "adm.channels=7": "adm.channels must be an even number",
    "adm.updown=pool": "adm.updown must be conv, resBlock or plain",
    "dome.variant=4xblocks":
      "dome.variant must be 3xblocks, 2xud, 2xud-half or small",
    "dome={layout: {inc: 8, down: [8, 8], bot: [], up: [8]}}":
      "dome.layout.up must be as long as down, whose length is 2",
    "song.channels=30": "song.channels must be a multiple of 4",
    "song.resampleFilter=[1, 2, 1]":
      "song.resampleFilter must be a list whose length is even",
    "conv.levels=0": "conv.levels must be at least 1",
    "layerNormUnet.activation=gelu":
      "layerNormUnet.activation must be relu or silu",
  };
  for (const [set, want] of Object.entries(cases)) {
    ok((await refusal(set)).startsWith(`${want}: given `), await refusal(set));
  }
  match(await refusal("song.attention=[8]"), /^Unknown key "song\.attention"/);
});

Deno.test("networks say which images they cannot take", async () => {
  const cases: [string, number, RegExp][] = [
    [
      "adm={multipliers: [1, 2, 4, 8]}",
      28,
      /multiples of 8 pixels: .* 28 × 28/,
    ],
    ["dome={variant: 3xblocks}", 28, /this dome as it halves .* 3 times/],
    ["dome={}", 14, /multiples of 4 pixels/],
    ["song={multipliers: [1, 1, 1]}", 6, /this song .* multiples of 4 pixels/],
    ["conv={levels: 3}", 28, /this conv .* multiples of 8 pixels/],
  ];
  for (const [set, side, message] of cases) {
    const config = await configOf(set);
    throws(() => checkImageSize(config, { height: side, width: side }), {
      name: "UsageError",
      message,
    });
  }
  // What depends on more than halving is said when the network is built.
  const built: [string, number, RegExp][] = [
    [
      "layerNormUnet={}",
      32,
      /4 times an odd number from 3, such as 28: it is 32/,
    ],
    [
      "adm={attentionResolutions: [16]}",
      8,
      /among the sides of levels, 8, 4, 2/,
    ],
    ["adm={channels: 8, headChannels: 3}", 8, /heads must divide the channels/],
  ];
  for (const [set, side, message] of built) {
    const config = await configOf(set);
    const shape = { ...SHAPE, height: side, width: side };
    throws(() => new DdpmModel(config, shape), { name: "UsageError", message });
  }
  const wide = { ...SHAPE, width: 28 };
  const config = await configOf("layerNormUnet={}");
  throws(() => new DdpmModel(config, wide), /must be square: they are 12 × 28/);
});
