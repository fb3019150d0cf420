import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { UsageError } from "../../tasks/_cli.ts";
import {
  checkConfig,
  listPresets,
  resolveConfig,
  z,
} from "../../tasks/_config.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  ddpmPresetOf,
  ddpmSchema,
} from "../../tasks/_ddpm_config.ts";
import { checkImageSize } from "../../tasks/_network_config.ts";
import { resolveSteps } from "../../tasks/_training_config.ts";
import { parse, stringify } from "../../tasks/_yaml.ts";

const DDPM = {
  schema: ddpmSchema,
  preset: "ddpm-digits",
  presetPrefix: DDPM_PRESET_PREFIX,
  exclusive: DDPM_EXCLUSIVE,
};

/** Runs `use` with the path of a file that holds `text`. */
async function withFile<T>(
  text: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, text);
    return await use(path);
  } finally {
    await Deno.remove(path);
  }
}

/** The message with which `--set text` is refused. */
async function refusal(...sets: string[]): Promise<string> {
  try {
    await resolveConfig({ ...DDPM, sets });
  } catch (error) {
    ok(error instanceof UsageError, String(error));
    return error.message;
  }
  throw new Error(`Accepted: ${sets}`);
}

Deno.test("resolveConfig() lets preset < file < --set < flags", async () => {
  const file = "batchSize: 2\nsteps: 20\nunet: { channels: 16, groups: 4 }\n";
  const config = await withFile(file, (configFile) =>
    resolveConfig({
      ...DDPM,
      configFile,
      sets: ["steps=30", "unet.channels=24", "classes=[cat, 6]"],
      flags: { steps: 40, dataset: undefined, "samples.count": 9 },
    }));
  equal(config.dataset, "digits"); // preset; a flag not given changes nothing
  equal(config.batchSize, 2); // file
  equal(config.unet!.groups, 4);
  equal(config.unet!.channels, 24); // --set
  deepEqual(config.classes, ["cat", 6]);
  equal(config.steps, 40); // flag
  equal(config.samples.count, 9);
  deepEqual(config.unet!.multipliers, [1, 2]); // preset, beside the file's keys
  equal(config.diffusion.prediction, "eps"); // schema
});

Deno.test("resolveConfig() lets epochs and steps replace each other, not stand together", async () => {
  const epochs = await resolveConfig({ ...DDPM, flags: { epochs: 2 } });
  equal(resolveSteps(epochs, 1500).steps, Math.ceil(2 * 1500 / 64));
  ok(!("epochs" in resolveSteps(epochs, 1500)));
  const steps = await withFile(
    "epochs: 2\n",
    (configFile) => resolveConfig({ ...DDPM, configFile, flags: { steps: 7 } }),
  );
  deepEqual([steps.steps, steps.epochs], [7, undefined]);
  equal(resolveSteps(steps, 1500).steps, 7);
  await rejects(
    resolveConfig({ ...DDPM, sets: ["steps=3"], flags: { epochs: 1 } }),
    { message: "Give only one of --set steps=3 and --epochs" },
  );
  await withFile("steps: 1\nepochs: 2\n", (configFile) =>
    rejects(
      resolveConfig({ ...DDPM, configFile }),
      /^UsageError: Give only one of steps \(.*\.yaml\) and epochs/,
    ));
});

Deno.test("resolveConfig() names an unknown key, where it stands and the nearest", async () => {
  await withFile(
    "unet:\n  chanels: 3\n",
    (configFile) =>
      rejects(resolveConfig({ ...DDPM, configFile }), {
        name: "UsageError",
        message:
          `Unknown key "unet.chanels" in ${configFile}: did you mean "unet.channels"?`,
      }),
  );
  equal(
    await refusal("lr=1"),
    'Unknown key "lr" in --set lr=1: did you mean "optimizer.learningRate"?',
  );
  match(await refusal("learningRate=1"), /mean "optimizer\.learningRate"\?$/);
  match(await refusal("unet.timesteps=1"), /mean "diffusion\.timesteps"\?$/);
  match(await refusal("batch_size=3"), /mean "batchSize"\?$/);
  match(await refusal("__proto__.x=1"), /^Unknown key "__proto__"/);
  match(await refusal("unet.toString=1"), /^Unknown key "unet\.toString"/);
});

Deno.test("resolveConfig() says what a value must be, and what is there", async () => {
  const cases: Record<string, string> = {
    "unet=5": "unet must be a mapping of keys to values",
    "unet.channels=-4": "unet.channels must be at least 2",
    "unet.channels=3.5": "unet.channels must be a whole number",
    "unet.channels=": "unet.channels must be a number",
    "optimizer.learningRate=0": "optimizer.learningRate must be greater than 0",
    "diffusion.betaEnd=1": "diffusion.betaEnd must be less than 1",
    "augment.horizontalFlip=maybe":
      "augment.horizontalFlip must be auto, true or false",
    "conditional=1": "conditional must be true or false",
    "unet.multipliers=[]":
      "unet.multipliers must be a list whose length is at least 1",
    "optimizer.betas=0.9":
      "optimizer.betas must be a list, such as [0.9, 0.999]",
    "unet.groups=7":
      "unet.groups must be a divisor of the channels of every level, 16, 32",
    "unet.attentionLevels=[2]":
      "unet.attentionLevels must be levels from 0 to 1, as multipliers has 2",
    "samples.steps=2000":
      "samples.steps must be at most diffusion.timesteps, 1000",
  };
  for (const [set, want] of Object.entries(cases)) {
    equal(await refusal(set), `${want}: given --set ${set}`);
  }
  equal(
    await refusal("diffusion.betaStart=0.5", "diffusion.betaEnd=0.1"),
    "diffusion.betaStart must be at most betaEnd, 0.1: given --set diffusion.betaStart=0.5",
  );
  match(
    await refusal("diffusion.schedule=cosin"),
    /^diffusion\.schedule must be linear, .* or jsd: given --set diffusion\.schedule=cosin: did you mean "cosine"\?$/,
  );
  equal(
    await refusal("unet.channels=10"),
    "unet.groups must be a divisor of the channels of every level, 10, 20: given 4 in preset ddpm-digits",
  );
  equal(
    await refusal("steps=0", "seed=x"),
    "seed must be a number: given --set seed=x\nsteps must be at least 1: given --set steps=0",
  );
});

Deno.test("resolveConfig() refuses what it cannot read", async () => {
  match(
    await refusal("steps"),
    /^--set needs a key and a value.*given "steps"/,
  );
  match(await refusal("a..b=1"), /^--set needs a key/);
  match(
    await refusal("steps=[1"),
    /^Cannot parse the value of --set steps=\[1/,
  );
  await rejects(
    resolveConfig({ ...DDPM, configFile: "/nowhere/my.yaml" }),
    /Cannot read configuration \/nowhere\/my\.yaml: there is no such file/,
  );
  await withFile("a: [1\nb: 2\n", (configFile) =>
    rejects(
      resolveConfig({ ...DDPM, configFile }),
      /UsageError: Cannot parse .*\.yaml as YAML: .* \(line \d, column \d\)$/,
    ));
  await withFile("- 1\n", (configFile) =>
    rejects(
      resolveConfig({ ...DDPM, configFile }),
      /a configuration is a mapping of keys to values: it holds \[1\]$/,
    ));
  await withFile(
    "# nothing\n",
    (configFile) => resolveConfig({ ...DDPM, configFile }),
  );
  const schema = z.strictObject({ size: z.int() });
  await rejects(
    resolveConfig({ schema }),
    /Missing key "size": set it in a file for --config, or by --set size=…/,
  );
});

Deno.test("resolveConfig() suggests the preset that was meant", async () => {
  for (const preset of ["ddpm-mnits", "mnist"]) {
    await rejects(
      resolveConfig({ ...DDPM, preset }),
      new RegExp(
        `Unknown preset "${preset}": did you mean "ddpm-mnist"\\? Allowed: .*ddpm-cifar10-ho`,
      ),
    );
  }
});

Deno.test("resolveConfig() lets one network replace another", async () => {
  const { unet, diffusion } = await withFile(
    "unet: { channels: 8, groups: 2 }\n",
    (configFile) => resolveConfig({ ...DDPM, configFile }),
  );
  deepEqual([unet!.channels, unet!.multipliers], [8, [1, 2]]); // merged with the preset's
  equal(diffusion.schedule, "cosine");
});

Deno.test("resolveConfig() says which settings do not go together", async () => {
  const cases: [string[], string][] = [
    [["samples.guidance=2"], "labelDropout must be above 0, such as 0.1"],
    [["labelDropout=0.1"], "conditional must be true with labelDropout"],
    [["diffusion.schedule=jsd"], "diffusion.prediction must be x0 or v"],
    [
      ["diffusion.variance=learned_range"],
      "loss.type must be hybrid or vlb",
    ],
    [["loss.type=hybrid"], "diffusion.variance must be learned_range"],
    [["loss.firstTimestep=1000"], "loss.firstTimestep must be below"],
  ];
  for (const [sets, want] of cases) {
    ok((await refusal(...sets)).startsWith(want), await refusal(...sets));
  }
});

Deno.test("every preset fits the schema, and each data set has its own", async () => {
  const presets = await listPresets(DDPM_PRESET_PREFIX);
  ok(presets.length >= 5);
  for (const preset of presets) await resolveConfig({ ...DDPM, preset });
  for (const dataset of ["digits", "mnist", "fashion-mnist", "cifar10"]) {
    const preset = ddpmPresetOf(dataset);
    equal((await resolveConfig({ ...DDPM, preset })).dataset, dataset);
  }
  equal(ddpmPresetOf("folder:cats"), "ddpm-cifar10");
  equal(ddpmPresetOf("constructor"), "ddpm-cifar10");
});

Deno.test("ddpm-cifar10-ho is the configuration of Ho et al. 2020", async () => {
  const config = await resolveConfig({ ...DDPM, preset: "ddpm-cifar10-ho" });
  deepEqual(config.unet, {
    channels: 128,
    multipliers: [1, 2, 2, 2],
    resBlocks: 2,
    attentionLevels: [1],
    groups: 32,
    dropout: 0.1,
  });
  const { optimizer, ema, steps, batchSize, augment } = config;
  deepEqual(
    [steps, batchSize, ema.decay, augment.horizontalFlip],
    [800_000, 128, 0.9999, true],
  );
  deepEqual(
    [optimizer.learningRate, optimizer.warmupSteps, optimizer.gradientClip],
    [2e-4, 5000, 1],
  );
});

Deno.test("checkConfig() reads back a written configuration, without its key run", async () => {
  const config = await resolveConfig(DDPM);
  const text = stringify({ ...config, run: { adapter: "some" } });
  deepEqual(checkConfig(ddpmSchema, parse(text), "config.yaml"), config);
});

Deno.test("checkImageSize() wants every level to halve the image", async () => {
  const config = await resolveConfig({ ...DDPM, preset: "ddpm-cifar10-ho" });
  checkImageSize(config, { height: 32, width: 40 });
  try {
    checkImageSize(config, { height: 28, width: 28 });
    ok(false);
  } catch (error) {
    match(
      (error as Error).message,
      /multiples of 8 pixels: they are 28 × 28\. Use fewer levels/,
    );
  }
});

Deno.test("stringify() and parse() keep values and types", () => {
  const value = {
    rate: 1e-8,
    texts: ["on", "1e-4", "0123", "cat: dog", ""],
    nested: { deeper: { list: [1, [2, 3]] } },
    none: null,
  };
  deepEqual(parse(stringify({ ...value, gone: undefined })), value);
  equal(parse("1e-4"), 1e-4);
  equal(parse("\n# only a comment\n"), undefined);
});
