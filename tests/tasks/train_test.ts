/**
 * `train` and `sample` as a user runs them: subprocesses, killed and resumed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parseSafetensors } from "../../mod.ts";
import { inFolder, run, task, TINY } from "./_subprocess.ts";

/** Lines of metrics.jsonl without what the clock says. */
async function metrics(run: string): Promise<unknown[]> {
  const text = await Deno.readTextFile(`${run}/metrics.jsonl`);
  return text.trim().split("\n").map((line) => {
    const { images_per_second: rate, ...rest } = JSON.parse(line);
    assert.ok(rate > 0);
    return rest;
  });
}

async function tensorsOf(path: string) {
  const { tensors, metadata } = parseSafetensors(await Deno.readFile(path));
  return { tensors, step: metadata.step };
}

async function waitFor(path: string): Promise<void> {
  const deadline = Date.now() + 120_000;
  for (;;) {
    try {
      await Deno.stat(path);
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound) || Date.now() > deadline) {
        throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("train killed after step 20 and resumed equals 40 steps straight, bit for bit", async () => {
  await inFolder(async (folder) => {
    const straight = await run(
      "train",
      "ddpm",
      ...TINY,
      "--steps",
      "40",
      "--out",
      `${folder}/a`,
    );
    assert.equal(straight.code, 0, straight.err);

    const child = task("train", [
      "ddpm",
      ...TINY,
      "--steps",
      "40",
      "--out",
      `${folder}/b`,
    ]).spawn();
    await waitFor(`${folder}/b/checkpoints/latest`);
    child.kill("SIGKILL");
    await child.output();
    await assert.rejects(
      Deno.stat(`${folder}/b/checkpoints/step-40.safetensors`),
    );
    const resumed = await run("train", "ddpm", "--resume", `${folder}/b`);
    assert.equal(resumed.code, 0, resumed.err);
    assert.match(resumed.err, /Continuing after step 20/);

    const a = await tensorsOf(`${folder}/a/checkpoints/step-40.safetensors`);
    const b = await tensorsOf(`${folder}/b/checkpoints/step-40.safetensors`);
    assert.equal(a.step, "40");
    assert.deepEqual(b, a);
    const lines = await metrics(`${folder}/a`);
    assert.equal(lines.length, 6); // after 7, 14, … 35, and 40
    assert.deepEqual(await metrics(`${folder}/b`), lines);
    for (
      const name of [
        "config.yaml",
        "summary.json",
        "curves.svg",
        "curves.png",
        "progress.gif",
      ]
    ) {
      assert.ok((await Deno.stat(`${folder}/b/${name}`)).size > 0, name);
    }
    const png = async (run: string) =>
      await Deno.readFile(`${folder}/${run}/samples/step-40.png`);
    assert.deepEqual(await png("b"), await png("a"));
  });
});

Deno.test("resuming a finished run mends what is missing, and changes nothing else", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const made = await run(
      "train",
      "ddpm",
      ...TINY,
      "--steps",
      "3",
      "--out",
      path,
    );
    assert.equal(made.code, 0, made.err);
    const picture = `${path}/samples/step-3.png`;
    const [before, pixels] = [
      await Deno.readTextFile(`${path}/summary.json`),
      await Deno.readFile(picture),
    ];
    await Deno.remove(picture); // as if Ctrl-C had come while it was drawn
    const again = await run("train", "ddpm", "--resume", path);
    assert.equal(again.code, 0, again.err);
    assert.deepEqual(await Deno.readFile(picture), pixels);
    const keys = ["steps", "loss", "trainingSeconds", "imagesPerSecond"];
    const pick = (text: string) => {
      const summary = JSON.parse(text);
      return keys.map((key) => summary[key]);
    };
    assert.deepEqual(
      pick(await Deno.readTextFile(`${path}/summary.json`)),
      pick(before),
    );
    assert.ok(pick(before).every((value) => value > 0), before);
    const fewer = await run("train", "ddpm", "--resume", path, "--steps", "2");
    assert.equal(fewer.code, 2);
    assert.match(fewer.err, /at least the 3 steps done: given 2/);
  });
});

Deno.test("train saves at Ctrl-C, and sample draws from what is there", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const args = [
      "ddpm",
      ...TINY,
      "--conditional",
      "--class",
      "1,7",
      "--steps",
      "100000",
      "--data-dir",
      folder,
    ];
    const child = task("train", [...args, "--set", "logEvery=1", "--out", path])
      .spawn();
    await waitFor(`${path}/metrics.jsonl`);
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    assert.equal(code, 0);
    const said = new TextDecoder().decode(stderr);
    assert.match(said, /Stopped after step \d+\. Continue: /);
    assert.ok(
      said.trimEnd().endsWith(
        ` train ddpm --resume ${path} --data-dir ${folder}`,
      ),
    );

    const one = await run(
      "sample",
      path,
      "--count",
      "3",
      "--class",
      "7",
      "--out",
      `${folder}/out`,
    );
    assert.equal(one.code, 0, one.err);
    const files = [...Deno.readDirSync(`${folder}/out`)].map(({ name }) =>
      name
    );
    assert.equal(files.length, 3);
    const grid = await run(
      "sample",
      path,
      "--sampler",
      "ddpm",
      "--sampling-steps",
      "5",
      "--grid",
      `${folder}/g.png`,
      "--json",
    );
    assert.equal(grid.code, 0, grid.err);
    assert.deepEqual(JSON.parse(grid.out).written, [`${folder}/g.png`]);
    const wrong = await run("sample", path, "--class", "3");
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /3/);
  });
});

Deno.test("train and sample explain bad input in one paragraph, and damage nothing", async () => {
  await inFolder(async (folder) => {
    const usage: [string[], RegExp][] = [
      [["train", "dppm"], /Unknown model "dppm": did you mean "ddpm"\?/],
      [
        ["train", "ddpm", "--dataset", "fashion-mist"],
        /did you mean "fashion-mnist"/,
      ],
      [["train", "ddpm", "--class", "twelve"], /twelve/],
      [
        ["train", "ddpm", "--steps", "-3"],
        /--steps must be a whole number of at least 1/,
      ],
      [["train", "ddpm", "--batchsize", "3"], /did you mean --batch-size\?/],
      [
        ["train", "ddpm", "--set", "unet.chanels=3"],
        /did you mean "unet.channels"/,
      ],
      [
        ["train", "ddpm", "--set", "optimizer.lr=3"],
        /did you mean "optimizer.learningRate"/,
      ],
      [
        ["train", "ddpm", "--preset", "ddpm-digit"],
        /did you mean "ddpm-digits"/,
      ],
      [["train", "ddpm", "--resume", `${folder}/none`], /none/],
      [["train", "ddpm", "--out", "/proc/denoise"], /\/proc\/denoise/],
      [["sample", `${folder}/none`], /none/],
    ];
    const results = await Promise.all(
      usage.map(([[name, ...args]]) => run(name!, ...args)),
    );
    results.forEach(({ code, err }, i) => {
      assert.equal(code, 2, `${usage[i]![0].join(" ")}: ${err}`);
      assert.match(err.replaceAll(/\s+/g, " "), usage[i]![1]);
      assert.doesNotMatch(err, /^\s+at /m, "no stack trace");
    });

    const missing = await run(
      "train",
      "ddpm",
      "--dataset",
      "mnist",
      "--data-dir",
      folder,
    );
    assert.notEqual(missing.code, 0);
    assert.match(missing.err, /train-images-idx3-ubyte/);
    assert.doesNotMatch(missing.err, /^\s+at /m);

    // A truncated checkpoint, and one of another architecture.
    const path = `${folder}/run`;
    const made = await run(
      "train",
      "ddpm",
      ...TINY,
      "--steps",
      "2",
      "--out",
      path,
    );
    assert.equal(made.code, 0, made.err);
    const again = await run(
      "train",
      "ddpm",
      ...TINY,
      "--steps",
      "2",
      "--out",
      path,
    );
    assert.equal(again.code, 2);
    const file = `${path}/checkpoints/step-2.safetensors`;
    const whole = await Deno.readFile(file);
    const config = await Deno.readTextFile(`${path}/config.yaml`);
    await Deno.writeTextFile(
      `${path}/config.yaml`,
      config.replace("channels: 4", "channels: 6"),
    );
    const other = await run("train", "ddpm", "--resume", path, "--steps", "4");
    assert.equal(other.code, 1);
    assert.match(
      other.err.replaceAll(/\s+/g, " "),
      /conv_in\.weight is f32\[4, 1, 3, 3\]/,
    );
    assert.doesNotMatch(other.err, /^\s+at /m);
    assert.deepEqual(await Deno.readFile(file), whole);
    await Deno.writeFile(file, whole.subarray(0, whole.length - 100));
    const cut = await run("sample", file);
    assert.equal(cut.code, 1);
    assert.match(cut.err, /step-2\.safetensors/);
    assert.doesNotMatch(cut.err, /^\s+at /m);
  });
});

Deno.test("doctor finds the device and right gradients", async () => {
  const { code, out, err } = await run("doctor", "--json");
  assert.equal(code, 0, err);
  const report = JSON.parse(out);
  assert.equal(report.ok, true);
  assert.ok(report.selfTest.length >= 5);
  assert.ok(report.maxBindingBytes >= 1 << 27);
});
