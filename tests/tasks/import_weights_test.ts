/**
 * `import-weights`: from the files that others publish to a run that draws the same pictures.
 *
 * @module
 */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { zipSync } from "npm:fflate@0.8.3";
import {
  AdmClassifier,
  DomeUNet,
  type HostTensor,
  parseSafetensors,
  Rng,
  saveSafetensors,
  type Tensor,
  UNet,
} from "../../mod.ts";
import { parseCommand } from "../../tasks/_cli.ts";
import { type DdpmModel, loadDdpm } from "../../tasks/_ddpm.ts";
import { readCheckpoint, weightsOf } from "../../tasks/_trainer.ts";
import { command, main } from "../../tasks/import_weights.ts";
import { inFolder, run, TINY } from "./_subprocess.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Weights = Record<string, HostTensor>;

// A pickle's instructions, as `torch.save` writes them with protocol 2.
function join(...parts: (string | number | ArrayLike<number>)[]): Bytes {
  return Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "number" ? [part] : Array.from(
        typeof part === "string" ? new TextEncoder().encode(part) : part,
      )
    ),
  );
}
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const int = (value: number) => join("J", u32(value));
const str = (text: string) => join("X", u32(text.length), text);
const tuple = (...items: Bytes[]) => join("(", ...items, "t");
const global = (module: string, name: string) => join(`c${module}\n${name}\n`);
const call = (callee: Bytes, ...args: Bytes[]) =>
  join(callee, tuple(...args), "R");
const dict = (entries: Record<string, Bytes>) =>
  join("}(", ...Object.entries(entries).flatMap(([k, v]) => [str(k), v]), "u");

/** A file of `torch.save`: nested dictionaries of tensors, and pickles as they are. */
class TorchFile {
  readonly #storages: Record<string, Bytes> = {};

  /** A state dict, of f16 if asked for. */
  state(weights: Weights, half = false): Bytes {
    return dict(Object.fromEntries(
      Object.entries(weights).map(([name, { shape, data }]) => {
        const key = String(Object.keys(this.#storages).length);
        const stored = half ? Float16Array.from(data) : Float32Array.from(data);
        this.#storages[`archive/data/${key}`] = new Uint8Array(stored.buffer);
        const strides = shape.map((_, i) =>
          shape.slice(i + 1).reduce((product, n) => product * n, 1)
        );
        const storage = join(
          tuple(
            str("storage"),
            global("torch", half ? "HalfStorage" : "FloatStorage"),
            str(key),
            str("cpu"),
            int(data.length),
          ),
          "Q",
        );
        return [
          name,
          call(
            global("torch._utils", "_rebuild_tensor_v2"),
            storage,
            int(0),
            tuple(...shape.map(int)),
            tuple(...strides.map(int)),
            join(0x89),
            call(global("collections", "OrderedDict")),
          ),
        ];
      }),
    ));
  }

  /** The whole file. */
  bytes(root: Bytes): Bytes {
    return zipSync({
      "archive/data.pkl": join([0x80, 2], root, "."),
      ...this.#storages,
    }, { level: 0 }) as Bytes;
  }
}

/** Settings of the tiny network, without `--batch-size`, which is for training. */
const SETS = TINY.slice(0, -2);
/** The same. */
const NETWORK = {
  inChannels: 1,
  channels: 4,
  multipliers: [1, 2],
  resBlocks: 1,
  attentionLevels: [1],
  groups: 2,
};

/** The state of a network on the host. */
async function stateOf(
  network: { stateDict(): Record<string, Tensor> },
): Promise<Weights> {
  const weights: Weights = {};
  for (const [name, tensor] of Object.entries(network.stateDict())) {
    const { shape } = tensor;
    weights[name] = { dtype: "f32", shape, data: await tensor.data() };
  }
  return weights;
}

/** The same with something before each name. */
function wrapped(prefix: string, weights: Weights): Weights {
  return Object.fromEntries(
    Object.entries(weights).map(([name, value]) => [prefix + name, value]),
  );
}

/** Runs the task on a file of these bytes. */
async function importing(
  folder: string,
  bytes: Bytes,
  args: readonly string[] = ["--preset", "ddpm-digits", ...SETS],
  file = "weights",
): Promise<string> {
  await Deno.writeFile(`${folder}/${file}`, bytes);
  const out = `${folder}/${crypto.randomUUID()}`;
  const parsed = parseCommand(command, [
    `${folder}/${file}`,
    ...args,
    "--out",
    out,
    "--json",
  ]);
  const { log } = console;
  console.log = () => {};
  try {
    await main(parsed);
  } catch (error) {
    await rejects(Deno.stat(out), Deno.errors.NotFound); // nothing is written
    throw error;
  } finally {
    console.log = log;
  }
  return out;
}

/** The model that `sample` would use of a run. */
async function modelOf(run: string): Promise<DdpmModel> {
  const path = `${run}/checkpoints/step-0.safetensors`;
  return loadDdpm(await Deno.readFile(path), path, true).model;
}

const under = (prefix: string, weights: Weights) =>
  Object.fromEntries(
    Object.entries(weights).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : []
    ),
  );

Deno.test("weights of a run, saved as others save them, draw the same picture", async () => {
  await inFolder(async (folder) => {
    const original = `${folder}/run`;
    const made = await run(
      "train",
      "ddpm",
      ...TINY,
      "--steps",
      "3",
      "--out",
      original,
    );
    equal(made.code, 0, made.err);
    const { tensors } = parseSafetensors(
      await Deno.readFile(`${original}/checkpoints/step-3.safetensors`),
    );
    const { num_updates: _, ...averages } = under("ema.", tensors);
    const weights = under("model.", tensors);
    const torch = new TorchFile();
    const file = torch.bytes(dict({
      epoch: int(3),
      model: torch.state(wrapped("module.", weights)),
      ema: torch.state(wrapped("module.", averages)),
    }));
    const settings = ["--preset", "ddpm-digits", ...SETS];
    const averaged = await importing(folder, file, settings);
    const own = await importing(folder, file, [
      ...settings,
      "--key",
      "model.module",
    ]);
    const plain = await importing(folder, await saveSafetensors(averages));

    const picture = async (of: string) => {
      const path = `${folder}/picture.png`;
      const { code, err } = await run(
        "sample",
        of,
        "--count",
        "4",
        "--seed",
        "5",
        "--grid",
        path,
      );
      equal(code, 0, err);
      return await Deno.readFile(path);
    };
    deepEqual(await picture(averaged), await picture(original));
    const taken = async (run: string) => stateOf((await modelOf(run)).network);
    deepEqual(await taken(plain), await taken(averaged));
    deepEqual(await taken(own), weights);
  });
});

Deno.test("numbers of two bytes, extra wrappers and lists are taken as they are", async () => {
  await inFolder(async (folder) => {
    const network = new UNet(NETWORK, new Rng(3));
    const state = await stateOf(network);
    const torch = new TorchFile();
    // As github.com/ermongroup/ddim saves: a list of states, the network's first.
    const half = torch.bytes(
      join("](", torch.state(wrapped("module.", state), true), "e"),
    );
    const model = await modelOf(await importing(folder, half));
    const got = await stateOf(model.network);
    for (const [name, { data }] of Object.entries(state)) {
      deepEqual(got[name]!.data, Float32Array.from(Float16Array.from(data)));
    }
  });
});

Deno.test("an import knows its data: sizes, classes and where the weights came from", async () => {
  await inFolder(async (folder) => {
    const state = await stateOf(
      new UNet({ ...NETWORK, inChannels: 3, numClasses: 2 }, new Rng(3)),
    );
    const file = await saveSafetensors(state);
    await Deno.writeTextFile(`${folder}/names.txt`, "cat\nfrog\n\n");
    const args = [
      "--preset",
      "ddpm-digits",
      "--set",
      "dataset=cifar10",
      "--set",
      "conditional=true",
      "--image-size",
      "16",
      ...SETS,
    ];
    for (const names of [`${folder}/names.txt`, "cat,frog"]) {
      const path = await importing(folder, file, [
        ...args,
        "--class-names",
        names,
      ]);
      const { shape, config } = await modelOf(path);
      deepEqual(shape, {
        channels: 3,
        height: 16,
        width: 16,
        classNames: ["cat", "frog"],
      });
      equal(config.conditional, true);
      match(
        await Deno.readTextFile(`${path}/config.yaml`),
        /weights: \{ ?file: weights, key: .*sha256: [0-9a-f]{64}/,
      );
    }
    await rejects(
      importing(folder, file, args), // ten classes, numbered
      /label_emb\.weight is f32\[2, 16\], want f32\[10, 16\]/,
    );
    await rejects(
      importing(
        folder,
        file,
        [...args, "--set", "dataset=folder:photos"]
          .filter((arg) => arg !== "--image-size" && arg !== "16"),
      ),
      /Cannot tell the size of images in folder:photos: give it by --image-size/,
    );
  });
});

Deno.test("weights of dome272 learn what no class is: nothing is added", async () => {
  await inFolder(async (folder) => {
    const sets = [
      "dome={layout: {inc: 4, down: [4], bot: [4], up: [4]}, timeDim: 6, heads: 2}",
      "conditional=true",
      "classes=[1, 7]",
    ].flatMap((set) => ["--set", set]);
    const layout = { inc: 4, down: [4], bot: [4], up: [4] };
    const options = { inChannels: 1, variant: layout, timeDim: 6, heads: 2 };
    const network = new DomeUNet({ ...options, numClasses: 2 }, new Rng(3));
    const file = await saveSafetensors(await stateOf(network));
    const path = await importing(folder, file, [
      "--preset",
      "ddpm-digits",
      ...sets,
      "--set",
      "labelDropout=0.1",
    ]);
    const { label_emb } = (await modelOf(path)).network as DomeUNet;
    deepEqual(label_emb!.weight.shape, [3, 6]);
    const rows = await label_emb!.weight.data();
    deepEqual(rows.subarray(0, 12), await network.label_emb!.weight.data());
    deepEqual(rows.subarray(12), new Float32Array(6));
  });
});

Deno.test("import-weights refuses what it cannot take, by name, and writes nothing", async () => {
  await inFolder(async (folder) => {
    const state = await stateOf(new UNet(NETWORK, new Rng(3)));
    const torch = new TorchFile();
    const whole = torch.bytes(torch.state(state));
    const refuses = (bytes: Bytes, message: RegExp, ...args: string[]) =>
      rejects(
        importing(
          folder,
          bytes,
          args.length > 0 ? args : undefined,
          "model.pth",
        ),
        message,
      );
    await refuses(
      whole.slice(0, -100),
      /^SyntaxError: Cannot import model\.pth: .*cut off/,
    );
    await refuses(
      torch.bytes(call(global("os", "system"), str("true"))),
      /^SyntaxError: Cannot import model\.pth: .*os\.system/,
    );
    await refuses(
      join(
        [0x80, 4],
        global("torch_utils.persistence", "_reconstruct_persistent_obj"),
      ),
      /Python code in it, which is never run here.*state_dict\(\)/,
    );
    await refuses(
      join("not weights at all"),
      /^SyntaxError: Cannot import model\.pth: /,
    );

    // Another architecture: everything that differs, in one message.
    const wide = await stateOf(
      new UNet({ ...NETWORK, channels: 8 }, new Rng(3)),
    );
    const { "conv_in.bias": _, ...lacking } = wide;
    await refuses(
      await saveSafetensors({
        ...lacking,
        "extra.weight": state["conv_in.bias"]!,
      }),
      /missing \(1\): conv_in\.bias \[4\]; unexpected \(1\): extra\.weight \[4\]; different \(\d+\): .*conv_in\.weight is f32\[8, 1, 3, 3\], want f32\[4, 1, 3, 3\]/,
    );
    await refuses(
      whole,
      /^UsageError: Cannot find .* has .*, but the network has time_embed.* Is --preset the right one\?/,
      "--preset",
      "ddpm-digits-adm",
    );
    await refuses(
      whole,
      /^UsageError: Cannot find the network's weights under ema/,
      "--preset",
      "ddpm-digits",
      ...SETS,
      "--key",
      "ema",
    );
    const broken = {
      ...state["conv_in.bias"]!,
      data: Float32Array.of(1, NaN, 0, 0),
    };
    await refuses(
      await saveSafetensors({ ...state, "conv_in.bias": broken }),
      /NaN or infinite: conv_in\.bias$/,
    );
    await refuses(
      whole,
      /^UsageError: Unknown preset "ddpm-digit"/,
      "--preset",
      "ddpm-digit",
    );
    const parsed = parseCommand(command, [`${folder}/model.pth`]);
    await rejects(
      async () => await main(parsed),
      /^UsageError: Missing --preset.* ddpm-cifar10-ho/,
    );
    await rejects(
      async () =>
        await main(
          parseCommand(command, [`${folder}/none`, "--preset", "ddpm-digits"]),
        ),
      /^UsageError: Cannot read .*none: there is no such file/,
    );
  });
});

Deno.test("import-weights takes a classifier too, under its own permissions", async () => {
  await inFolder(async (folder) => {
    const { tasks } = JSON.parse(
      await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
    );
    const config = {
      channels: 8,
      multipliers: [1, 2],
      resBlocks: 1,
      groups: 4,
    };
    const network = new AdmClassifier(
      { ...config, inChannels: 1, imageSize: 8, numClasses: 10 },
      new Rng(3),
    );
    await Deno.writeFile(
      `${folder}/c.safetensors`,
      await saveSafetensors(await stateOf(network)),
    );
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...tasks["import-weights"].split(" ").slice(1),
        `${folder}/c.safetensors`,
        "--preset",
        "classifier-digits-noisy",
        "--set",
        `adm=${JSON.stringify(config)}`,
        "--json",
        "--out",
        `${folder}/run`,
      ],
      cwd: new URL("../../", import.meta.url),
      env: { NO_COLOR: "1" },
    }).output();
    equal(code, 0, new TextDecoder().decode(stderr));
    const result = JSON.parse(new TextDecoder().decode(stdout));
    equal(result.parameters, network.parameterCount);
    equal(result.classes.length, 10);
    const path = `${folder}/run/checkpoints/step-0.safetensors`;
    const checkpoint = readCheckpoint(await Deno.readFile(path), path);
    equal(checkpoint.model, "classifier");
    deepEqual(weightsOf(checkpoint, true), await stateOf(network));
  });
});
