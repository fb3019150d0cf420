import assert from "node:assert/strict";
import { INCEPTION_WEIGHTS, saveSafetensors, zeros } from "../../mod.ts";
import {
  type ExtractorFlags,
  inceptionPath,
  openExtractor,
} from "../../tasks/_extractors.ts";
import { inFolder, run } from "./_subprocess.ts";

const square = (channels: number, side: number) => ({
  channels,
  height: side,
  width: side,
});

/** Opens an extractor without the network; with what was said. */
async function open(
  flags: ExtractorFlags,
  channels: number,
  side: number,
  dataset?: string,
) {
  const said: string[] = [];
  const images = { shape: square(channels, side), dataset };
  const extractor = await openExtractor(flags, images, {
    quiet: true,
    say: (text) => said.push(text),
    download: false,
  });
  extractor.dispose();
  return { ...extractor, said: said.join("\n") };
}

/** Runs `body` with an empty folder for downloads. */
async function withCache(body: (folder: string) => Promise<void>) {
  const before = Deno.env.get("DENOISE_DATA");
  await inFolder(async (folder) => {
    Deno.env.set("DENOISE_DATA", folder);
    try {
      await body(folder);
    } finally {
      if (before === undefined) Deno.env.delete("DENOISE_DATA");
      else Deno.env.set("DENOISE_DATA", before);
    }
  });
}

Deno.test("openExtractor() takes what suits the images", async () => {
  await withCache(async (folder) => {
    for (const [dataset, side] of [["mnist", 28], ["digits", 8]] as const) {
      const { name, said } = await open({}, 1, side, dataset);
      assert.equal(name, `lenet-${dataset}`);
      assert.equal(said, "");
    }
    for (
      const [channels, side, dataset] of [
        [3, 32, "cifar10"],
        [1, 32, "mnist"], // resized
        [1, 28, undefined], // of a folder
      ] as const
    ) {
      const { name, said } = await open({}, channels, side, dataset);
      assert.equal(name, "random");
      assert.match(said, /^Features of random weights .*95\.6 MB/);
    }
    // The weights are there, and are what then counts.
    await Deno.mkdir(`${folder}/inception`);
    await Deno.writeTextFile(inceptionPath(), "not the weights");
    await assert.rejects(
      () => open({}, 3, 32, "cifar10"),
      new RegExp(
        `^UsageError: Cannot use .* must be ${INCEPTION_WEIGHTS.sha256}: it is [0-9a-f]{64}. Delete it`,
      ),
    );
  });
});

Deno.test("openExtractor() takes a LeNet by its name", async () => {
  const { name } = await open({ features: "lenet-fashion-mnist" }, 1, 28);
  assert.equal(name, "lenet-fashion-mnist");
  await assert.rejects(
    () => open({ features: "lenet" }, 1, 28),
    /^UsageError: There is no LeNet for images of unknown origin: .*lenet-digits/,
  );
  await assert.rejects(
    () => open({ features: "lenet-cifar10" }, 3, 32, "cifar10"),
    /^UsageError: There is no LeNet for cifar10/,
  );
  await assert.rejects(
    () => open({ features: "lenet" }, 1, 32, "mnist"),
    /^UsageError: .*images must be 1 × 28 × 28: they are 1 × 32 × 32/,
  );
  await assert.rejects(
    () => open({ features: "lenet", resize: "clean-fid" }, 1, 28, "mnist"),
    /^UsageError: --resize is for Inception: lenet takes images as they are/,
  );
});

Deno.test("openExtractor() says what is wrong with files", async () => {
  await withCache(async (folder) => {
    await assert.rejects(
      () => open({ features: "inception" }, 3, 32),
      /^UsageError: Cannot find Inception's weights: .*inception.* must be the file at https:/,
    );
    await assert.rejects(
      () => open({ features: `${folder}/none.pth` }, 3, 32),
      /^UsageError: Cannot use the features of .*none\.pth: there is no such file or run/,
    );
    const file = `${folder}/mine.safetensors`;
    await Deno.writeFile(
      file,
      await saveSafetensors({ "fc.bias": zeros([9]) }),
    );
    await assert.rejects(
      () => open({ features: file }, 3, 32),
      /^UsageError: Cannot take mine\.safetensors for Inception's weights, sha256 [0-9a-f]{64}: .*missing \(471\): .*fc\.bias is f32\[9\], want f32\[1008\]/,
    );
    await Deno.writeTextFile(file, "no tensors");
    await assert.rejects(
      () => open({ features: file }, 3, 32),
      /^SyntaxError: Cannot import mine\.safetensors/,
    );
  });
});

Deno.test("openExtractor() takes the classifier of a run", async () => {
  await inFolder(async (folder) => {
    const train = async (out: string, ...flags: string[]) => {
      const { code, err } = await run(
        "train",
        ...["classifier", "--class", "0,1", "--steps", "2", "--batch-size"],
        ...["4", "--set", "evaluation.count=40", "--out", out, ...flags],
      );
      assert.equal(code, 0, err);
    };
    await Promise.all([
      train(`${folder}/mine`),
      train(`${folder}/noisy`, "--noisy"),
    ]);
    const found = await open({ features: `${folder}/mine` }, 1, 8, "digits");
    assert.equal(found.name, "mine");
    assert.equal(found.prefix, "Classifier-");
    assert.deepEqual(found.classNames, ["0", "1"]);
    assert.ok(found.accuracy! > 0 && found.accuracy! <= 1);
    assert.equal(found.dimensions, 84);
    await assert.rejects(
      () => open({ features: `${folder}/mine` }, 1, 28, "mnist"),
      /^UsageError: .*by mine as images must be 1 × 8 × 8: they are 1 × 28 × 28/,
    );
    await assert.rejects(
      () => open({ features: `${folder}/noisy` }, 1, 8, "digits"),
      /^UsageError: .*must be of clean images/,
    );
  });
});
