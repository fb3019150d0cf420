/**
 * `deno task import-weights FILE --preset NAME`: makes a run of published weights.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { deviceInfo, listDatasets, saveSafetensors } from "../mod.ts";
import {
  commandName,
  defineCommand,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { listPresets, resolveConfig } from "./_config.ts";
import {
  parseWeights,
  requireFinite,
  selectWeights,
  withNoClass,
} from "./_import.ts";
import { type ModelKind, MODELS } from "./_models.ts";
import { basename } from "./_path.ts";
import { RunFolder, runName } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes } from "./_text.ts";
import {
  type DataShape,
  FORMAT,
  prefixed,
  type Trainable,
} from "./_trainer.ts";
import type { TrainingConfig } from "./_training_config.ts";

/** What `deno task import-weights` accepts. */
export const command = defineCommand({
  ...taskInfo("import-weights"),
  positionals: [{
    name: "file",
    description:
      "Weights: .safetensors, or a state dict of PyTorch (.pt, .pth, .ckpt)",
  }],
  flags: {
    ...deviceFlag,
    preset: {
      type: "string",
      description:
        "The network that the weights are of: a file of tasks/presets, such as ddpm-cifar10-ho",
    },
    config: {
      type: "string",
      placeholder: "FILE",
      description: "YAML file of settings, over those of the preset",
    },
    set: {
      type: "list",
      split: false,
      placeholder: "KEY=VALUE",
      description: "One setting, such as unet.channels=64; may be repeated",
    },
    key: {
      type: "string",
      placeholder: "NAME",
      description:
        "What the names in the file begin with, such as ema (default: found by itself)",
    },
    classNames: {
      type: "list",
      placeholder: "FILE|NAME,NAME…",
      description:
        "Names of the classes in the order of the network's ids, or a file with one a line (default: those that the settings choose, else numbers)",
    },
    imageSize: {
      type: "integer",
      min: 1,
      description: "Pixels along a side (default: as the preset's data set)",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      description: "Run folder (default: a new one in runs/)",
    },
  },
  notes:
    "Nothing in the file is run: a pickle that asks for more than tensors is refused by name. Names, shapes and types must all fit the network; nothing is written before they do.",
});

type Flags = Parsed<typeof command.flags>["flags"];

/** Classes of ImageNet, whose data set here is a folder of the user's. */
const IMAGENET_CLASSES = 1000;

/** The kind of model that a preset is of. */
async function kindOf(preset: string | undefined): Promise<ModelKind> {
  if (preset === undefined) {
    throw new UsageError(
      `Missing --preset, the network that the weights are of: one of ${
        (await listPresets()).join(", ")
      }`,
    );
  }
  return Object.values(MODELS).find(({ presetPrefix }) =>
    preset.startsWith(presetPrefix)
  ) ?? MODELS.ddpm!;
}

/** The names of `--class-names`: a file's lines, or the words themselves. */
async function namesGiven(
  words: readonly string[] | undefined,
): Promise<string[] | undefined> {
  if (words?.length !== 1) return words?.slice();
  try {
    const text = await Deno.readTextFile(userPath(words[0]!));
    return text.split("\n").map((line) => line.trim()).filter(Boolean);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return words.slice();
  }
}

/** What the data that a network was trained on look like. */
async function shapeOf(
  config: TrainingConfig,
  classNames: readonly string[] | undefined,
): Promise<DataShape> {
  const { dataset, imageSize, classes } = config;
  const info = listDatasets().find(({ name }) => name === dataset);
  const [channels, height, width] = info?.shape ?? [3, 0, 0];
  const given = await namesGiven(classNames);
  const isImagenet = dataset === "imagenet64";
  const count = isImagenet ? IMAGENET_CLASSES : info?.classCount ?? 0;
  const numbers = Array.from({ length: count }, (_, id) => String(id));
  if (!imageSize && height === 0) {
    throw new UsageError(
      `Cannot tell the size of images in ${dataset}: give it by --image-size`,
    );
  }
  return {
    channels,
    height: imageSize ?? height,
    width: imageSize ?? width,
    classNames: given ?? (classes.length > 0 ? classes.map(String) : numbers),
  };
}

/**
 * A checkpoint before the first step, of the weights alone: averages of weights and the state of an
 * optimizer are what training would add.
 */
function checkpointOf(model: Trainable): Promise<Uint8Array<ArrayBuffer>> {
  const states = Object.entries(model.rngs).map(([name, { state }]) =>
    [name, state] as const
  );
  return saveSafetensors({
    ...model.network.stateDict("model."),
    ...prefixed("extra.", model.extraState?.() ?? {}),
  }, {
    format: FORMAT,
    model: model.config.model,
    step: "0",
    seconds: "0",
    pending: "[]",
    rng: JSON.stringify(Object.fromEntries(states)),
    config: JSON.stringify(model.config),
    shape: JSON.stringify(model.shape),
  });
}

async function readFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : (error as Error).message;
    throw new UsageError(`Cannot read ${path}: ${reason}`, { cause: error });
  }
}

/** The network of the flags, with random weights. */
async function networkOf(kind: ModelKind, flags: Flags): Promise<Trainable> {
  const { schema, exclusive, presetPrefix } = kind;
  const config = await resolveConfig({
    schema,
    exclusive,
    preset: flags.preset,
    presetPrefix,
    configFile: flags.config === undefined ? undefined : userPath(flags.config),
    sets: flags.set,
    flags: { imageSize: flags.imageSize },
  }) as unknown as TrainingConfig;
  return await kind.create(config, await shapeOf(config, flags.classNames));
}

/**
 * Imports the weights.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  const path = userPath(positionals[0]!), file = basename(path);
  const say = (text: string) => json ? undefined : console.error(text);
  const kind = await kindOf(flags.preset);
  const bytes = await readFile(path);
  const found = parseWeights(bytes, file);
  const model = await networkOf(kind, flags);
  const { network, config, shape } = model;
  const own = network.stateDict();
  const { weights, key, others } = selectWeights(
    found,
    Object.keys(own),
    flags.key,
  );
  const embedding = own["label_emb.weight"];
  requireFinite(weights);
  network.loadStateDict(
    "dome" in config && config.dome && embedding
      ? withNoClass(weights, "label_emb.weight", embedding.shape[0]!)
      : weights,
  );

  const digest = await crypto.subtle.digest("SHA-256", bytes);
  const checkpoint = await checkpointOf(model);
  const { model: name, dataset, classes } = config;
  const run = flags.out === undefined
    ? await RunFolder.createNamed(
      userPath("runs"),
      runName({ model: name, dataset, classes }),
    )
    : await RunFolder.create(userPath(flags.out));
  await run.writeConfig({ ...config }, {
    command: [commandName(), "import-weights", ...Deno.args].join(" "),
    deno: Deno.version.deno,
    adapter: deviceInfo().adapter,
    weights: { file, key, sha256: new Uint8Array(digest).toHex() },
  });
  await run.saveCheckpoint(0, checkpoint);

  const parameters = network.parameterCount;
  if (json) {
    const result = {
      run: run.path,
      parameters,
      key,
      classes: shape.classNames,
    };
    console.log(JSON.stringify(result));
  }
  say(
    `${parameters.toLocaleString("en")} parameters from ${file} (${
      formatBytes(bytes.length)
    })${key === "" ? "" : `, under ${key}`}`,
  );
  for (const other of others) {
    say(`The file has others under ${other}, which --key ${other} takes`);
  }
  say(
    `Run folder: ${run.path}\nNext: ${commandName()} ${
      kind.next ?? "sample"
    } ${run.path}`,
  );
}

if (import.meta.main) await runTask(command, main);
