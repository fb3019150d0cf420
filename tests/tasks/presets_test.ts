import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  countFlops,
  GaussianDiffusion,
  listDatasets,
  Rng,
  zeros,
} from "../../mod.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  type DdpmConfig,
  ddpmSchema,
} from "../../tasks/_ddpm_config.ts";
import { buildNetwork, checkImageSize } from "../../tasks/_network_config.ts";
import { resolveSteps } from "../../tasks/_training_config.ts";

const IMAGENET = { classes: 1000, images: 1_281_167 };
const CIFAR10_IMAGES_PER_CLASS = 5000;

function resolve(preset: string): Promise<DdpmConfig> {
  return resolveConfig({
    schema: ddpmSchema,
    preset,
    presetPrefix: DDPM_PRESET_PREFIX,
    exclusive: DDPM_EXCLUSIVE,
  });
}

/** Images, channels, sides and classes of the data that a preset names. */
function dataOf({ dataset, classes }: DdpmConfig) {
  const info = listDatasets().find(({ name }) => name === dataset)!;
  const [channels, height, width] = info.shape;
  const all = info.classCount || IMAGENET.classes;
  return {
    channels,
    height,
    width,
    classes: classes.length || all,
    images: classes.length > 0
      ? classes.length * CIFAR10_IMAGES_PER_CLASS
      : info.trainCount || IMAGENET.images,
  };
}

const costs = new Map<string, { parameters: number; gflop: string }>();

/** Parameters and forward cost of the network that a preset builds; nothing is computed. */
function costOf(config: DdpmConfig): { parameters: number; gflop: string } {
  const { channels, height, width, classes } = dataOf(config);
  const { conditional, labelDropout, diffusion } = config;
  const demands = {
    inChannels: channels * (config.selfConditioning ? 2 : 1),
    outChannels: channels * (diffusion.variance === "learned_range" ? 2 : 1),
    height,
    width,
    numClasses: conditional ? classes + Number(labelDropout > 0) : undefined,
  };
  const { unet, adm, dome, song, conv, layerNormUnet } = config;
  const key = JSON.stringify([
    demands,
    { unet, adm, dome, song, conv, layerNormUnet },
  ]);
  const known = costs.get(key);
  if (known) return known;
  const build = () => buildNetwork(config, demands, new Rng(1));
  // Its filters are host data, which nothing that is only counted may hold.
  const made = song && build();
  let parameters = 0;
  const flops = countFlops(() => {
    const network = made ?? build();
    parameters = network.parameterCount;
    const y = conditional ? zeros([1], "i32") : undefined;
    network.forward(
      zeros([1, demands.inChannels, height, width]),
      zeros([1]),
      { y },
    );
  });
  made?.dispose();
  const cost = { parameters, gflop: (flops / 1e9).toPrecision(3) };
  costs.set(key, cost);
  return cost;
}

const presets = await listPresets(DDPM_PRESET_PREFIX);

Deno.test("every preset fits its data, and its head tells what it costs", async () => {
  for (const name of presets) {
    if (name.endsWith("-latent")) continue; // what it costs is up to an autoencoder
    const config = await resolve(name);
    const data = dataOf(config);
    checkImageSize(config, data);
    const { steps, batchSize } = resolveSteps(config, data.images);
    const { parameters, gflop } = costOf(config);
    const text = await Deno.readTextFile(
      new URL(`../../tasks/presets/${name}.yaml`, import.meta.url),
    );
    const head = text.split("\n").filter((line) => line.startsWith("#"))
      .map((line) => line.slice(2)).join(" ");
    const numbers =
      `${(steps * batchSize).toLocaleString("en")} images seen, ` +
      `${
        parameters.toLocaleString("en")
      } parameters, ${gflop} GFLOP forward for one.`;
    ok(head.includes(numbers), `${name}: ${numbers}`);
  }
});

Deno.test("presets of published networks have their number of parameters", async () => {
  const published: Record<string, number> = {
    "ddpm-cifar10-ho": 35_746_307,
    "ddpm-cifar10-improved": 52_546_438,
    "ddpm-imagenet64-improved": 121_063_942,
    "ddpm-imagenet64-adm": 295_904_454,
    "ddpm-cifar10-edm": 55_733_891,
    "ddpm-cifar10-edm-conditional": 55_735_299,
    "ddpm-cifar10-edm-ncsnpp": 56_397_827,
    "ddpm-cifar10-cat-3xblocks-linear": 23_332_739,
    "ddpm-cifar10-cat-2xud-linear": 16_062_083,
    "ddpm-cifar10-cat-2xud-half-linear": 4_268_419,
    "ddpm-cifar10-cat-small-linear": 3_062_531,
    "ddpm-cifar10-cat-conv-linear": 4_072_899,
    "ddpm-cifar10-cat-frog-conditional": 23_333_251,
    "ddpm-mnist-layernorm": 506_852,
    // Ten classes, and one row for none.
    "ddpm-cifar10-dome-guided": 23_335_299 + 256,
  };
  for (const [name, parameters] of Object.entries(published)) {
    equal(costOf(await resolve(name)).parameters, parameters, name);
  }
});

Deno.test("each preset as published has a corrected one that differs in its defects alone", async () => {
  const suffix = "-as-published";
  const pairs = presets.filter((name) => name.endsWith(suffix));
  ok(pairs.length >= 10);
  for (const name of pairs) {
    const [was, is] = await Promise.all(
      [name, name.slice(0, -suffix.length)].map(resolve),
    );
    const same = (
      {
        diffusion: _,
        loss: __,
        ema: ___,
        augment: ____,
        samples,
        optimizer,
        ...rest
      }: DdpmConfig,
    ) => ({
      ...rest,
      samples: { ...samples, threshold: undefined },
      optimizer: { ...optimizer, gradientClip: 0 },
    });
    deepEqual(same(was!), same(is!), name);
    equal(was!.ema.decay, 0, name);
    ok(is!.ema.decay > 0.99, name);
    deepEqual(
      [was!.samples.threshold, is!.samples.threshold],
      ["none", "static"],
      name,
    );
    equal(is!.loss.firstTimestep, 0, name);
    const text = await Deno.readTextFile(
      new URL(`../../tasks/presets/${name}.yaml`, import.meta.url),
    );
    match(text.replaceAll(/\s+#?\s*/g, " "), /Defects, which \S+ corrects: /);
  }
});

Deno.test("presets as published have the defects that were published", async () => {
  const cosine = "ddpm-cifar10-cat-3xblocks-cosine";
  const [clipped, right] = await Promise.all(
    [`${cosine}-as-published`, cosine].map(resolve),
  );
  equal(clipped!.diffusion.maxBeta, 0.02);
  equal(right!.diffusion.maxBeta, undefined); // the schedule's own 0.999
  equal(clipped!.loss.firstTimestep, 1);
  equal(new GaussianDiffusion(clipped!.diffusion).report().clippedBetas, 98);
  const layernorm = await resolve("ddpm-mnist-layernorm-as-published");
  equal(layernorm.diffusion.timesteps, 300);
  for (const timesteps of [500, 1500]) {
    const name = `ddpm-cifar10-cat-frog-${timesteps}-timesteps`;
    const [fixed, scaled] = await Promise.all(
      [`${name}-as-published`, name].map(resolve),
    );
    deepEqual(fixed!.diffusion, {
      ...scaled!.diffusion,
      schedule: "linear",
      betaStart: 1e-4,
      betaEnd: 0.02,
    });
    equal(scaled!.diffusion.schedule, "rescaled_linear");
    equal(scaled!.diffusion.timesteps, timesteps);
  }
});

Deno.test("how much signal is left at the end is what the presets say", async () => {
  const left: Record<string, string> = {
    "ddpm-cifar10-cat-3xblocks-cosine-as-published": "3.2e-3",
    "ddpm-cifar10-cat-3xblocks-cosine": "2.4e-9",
    "ddpm-cifar10-cat-frog-500-timesteps-as-published": "6.4e-3",
    "ddpm-cifar10-cat-frog-1000-timesteps-as-published": "4.0e-5",
    "ddpm-cifar10-cat-frog-1500-timesteps-as-published": "2.6e-7",
    "ddpm-cifar10-cat-frog-500-timesteps": "3.8e-5",
    "ddpm-cifar10-cat-frog-1000-timesteps": "4.0e-5",
    "ddpm-cifar10-cat-frog-1500-timesteps": "4.1e-5",
    "ddpm-mnist-layernorm-as-published": "4.8e-2",
  };
  for (const [name, want] of Object.entries(left)) {
    const process = new GaussianDiffusion((await resolve(name)).diffusion);
    const { finalAlphaCumprod } = process.report();
    equal(finalAlphaCumprod.toExponential(1), want, name);
  }
});
