/**
 * `probe` as a user runs it.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

async function run(name: string, ...args: string[]) {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `tasks/${name}.ts`, ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", INIT_CWD: new URL(".", ROOT).pathname },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

const TINY = [
  "--steps",
  "2",
  "--batch-size",
  "4",
  ...["autoencoder.channels=4", "sampleEvery=0", "evaluateEvery=0"]
    .flatMap((setting) => ["--set", setting]),
];

Deno.test("probe compares an autoencoder's latents with those before training and with pixels", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const made = await run(
      "train",
      "autoencoder",
      ...TINY,
      "--out",
      `${folder}/a`,
    );
    assert.equal(made.code, 0, made.err);
    const counts = ["--train-count", "300", "--test-count", "100"];
    const [shown, json] = await Promise.all([
      run("probe", `${folder}/a`, ...counts),
      run("probe", `${folder}/a`, ...counts, "--json"),
    ]);
    assert.equal(shown.code, 0, shown.err);
    assert.match(
      shown.out,
      /^a at step 2: digits, 10 classes, 300 training and 100 test images, accuracy in %\nFeatures +Dimensions +linear +1-NN +5-NN\nlatents +32 .*\nuntrained +32 .*\npixels +64 /,
    );
    const [report] = JSON.parse(json.out);
    const kept = JSON.parse(await Deno.readTextFile(`${folder}/a/probe.json`));
    assert.deepEqual(kept, report);
    const { pixels, latents, untrained } = report.results;
    assert.ok(pixels.linear > 0.8 && pixels.neighbors[1] > 0.9);
    assert.ok(latents.linear > 0.5 && untrained.linear > 0.5);
    assert.ok(latents.linear <= 1 && latents.linearTrain <= 1);

    const one = `${folder}/one`;
    await run("train", "autoencoder", ...TINY, "--class", "3", "--out", one);
    const [single, missing, none] = await Promise.all([
      run("probe", one),
      run("probe", `${folder}/none`),
      run("probe"),
    ]);
    assert.match(
      single.err,
      /must be of at least 2 classes: UCI digits has 1/,
    );
    assert.match(missing.err, /Cannot find a run/);
    assert.deepEqual([single.code, missing.code, none.code], [2, 2, 2]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
