/**
 * FID and KID of folders, data sets, runs and files, as a user compares them.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type Dataset,
  frechetDistance,
  lenetExtractor,
  loadDigits,
  parseStatistics,
  statisticsBytes,
  takeImages,
} from "../../mod.ts";
import { npyBytes } from "../../tensor/npy.ts";
import { zip } from "../../tensor/zip.ts";
import { parseCommand } from "../../tasks/_cli.ts";
import { saveImages } from "../../tasks/_images.ts";
import { command, main } from "../../tasks/fid.ts";
import { assertClose } from "../_check.ts";
import { inFolder, run } from "./_subprocess.ts";

const TRAIN = loadDigits("train"), TEST = loadDigits("test");

/** The task in this process, without a cache. */
async function fid(
  ...args: string[]
): Promise<{ out: string; err: string }> {
  const { log, error } = console;
  const out: string[] = [], err: string[] = [];
  console.log = (text) => out.push(text);
  console.error = (text) => err.push(text);
  try {
    const flags = ["--no-cache", "--features", "lenet-digits"];
    await main(parseCommand(command, [...flags, ...args]));
  } finally {
    Object.assign(console, { log, error });
  }
  return { out: out.join("\n"), err: err.join("\n") };
}

/** What `--json` says. */
async function scored(...args: string[]) {
  return JSON.parse((await fid(...args, "--json")).out);
}

/** That the task ends with a message for a wrong command line. */
async function assertRefused(args: string[], message: RegExp) {
  await assert.rejects(fid(...args), { name: "UsageError", message });
}

/** Images as PNG files. */
const write = (folder: string, dataset: Dataset) =>
  saveImages(folder, dataset.images, dataset);

Deno.test("fid of the same images in a folder, a data set and a file is 0", async () => {
  await inFolder(async (folder) => {
    await write(`${folder}/test`, TEST);
    const { scores: [frechet, kernel], ...same } = await scored(
      `${folder}/test`,
      "digits/test",
    );
    assert.deepEqual(same.warnings, []);
    assert.equal(frechet.name, "LeNet-FID");
    assert.ok(Math.abs(frechet.value) < 1e-6, `${frechet.value}`);
    assert.ok(frechet.floor > 1);
    assert.equal(frechet.aboveFloor, frechet.value - frechet.floor);
    assert.equal(kernel.name, "LeNet-KID");
    assert.ok(kernel.value < 0); // unbiased for independent samples only
    assert.equal(same.count, 297);
    assert.deepEqual(same.floor, {
      of: "digits/test against digits/train",
      count: 297,
    });

    // All of both, by the library alone.
    const train = takeImages(TRAIN, 297);
    await write(`${folder}/train`, train);
    const other = await scored(`${folder}/train`, "digits/test", "--no-floor");
    const extractor = await lenetExtractor("digits");
    const [a, b] = await Promise.all([train, TEST].map(async ({ images }) => ({
      data: (await extractor.extract(images, TEST)).features,
      shape: [297, 84],
    })));
    const value = await frechetDistance(a!, b!);
    await assertClose([other.scores[0].value], [value], { rtol: 1e-9 });
    assert.equal(other.floor, undefined);
    extractor.dispose();

    const file = `${folder}/stats.npz`;
    const { err } = await fid("digits/test", "--save-stats", file);
    assert.match(err, /Wrote .*stats\.npz/);
    const stored = parseStatistics(await Deno.readFile(file));
    assert.deepEqual([stored.count, stored.mean.length], [297, 84]);
    assert.equal(stored.extractor!.sha256, same.extractor.sha256);
    const { scores } = await scored(`${folder}/test`, file);
    assert.equal(scores.length, 1); // no kernel distance without features
    assert.ok(Math.abs(scores[0].value) < 1e-6);
    assert.match((await fid(file, file)).out, /lenet-digits-FID +0 /);
    const foreign = `${folder}/foreign.npz`; // as other tools write them
    await Deno.writeFile(foreign, statisticsBytes(stored));
    const { warnings, scores: [score] } = await scored(foreign, "digits/test");
    assert.equal(score.value, scores[0].value);
    assert.match(warnings[0], /does not say what made its features/);
    await assertRefused(
      [`${folder}/test`, file, "--features", "random"],
      /256 dimensions: the statistics have 84/,
    );

    // As guided-diffusion writes samples; NumPy's bytes are not among what npyBytes writes.
    const images = npyBytes(new Float64Array(297 * 64), [297, 8, 8, 1]);
    const header = new TextDecoder("latin1").decode(images.subarray(0, 128))
      .replace("<f8", "|u1");
    const bytes = new Uint8Array(128 + TEST.images.length);
    bytes.set(Uint8Array.from(header, (letter) => letter.charCodeAt(0)));
    bytes[0] = 0x93;
    bytes.set(TEST.images, 128);
    const samples = `${folder}/samples.npz`;
    await Deno.writeFile(samples, zip({ "arr_0.npy": bytes }));
    const found = await scored(samples, "digits/test", "--no-floor");
    assert.ok(Math.abs(found.scores[0].value) < 1e-6);
  });
});

Deno.test("fid compares as many images of each side, those of the seed, and data sets by their splits", async () => {
  const splits = await scored("digits/train", "digits/test");
  const [frechet] = splits.scores;
  assert.equal(frechet.value, frechet.floor);
  const some = await scored("digits/train", "digits/test", "--count", "297");
  assert.equal(some.scores[0].value, frechet.value);
  const other = await scored("digits/train", "digits/test", "--seed", "2");
  assert.notEqual(other.scores[0].value, frechet.value);
  const classes = await scored("digits/test:3,4", "digits/test:5,6");
  assert.equal(classes.floor.of, "digits/test:5,6 against digits/train:5,6");
  assert.ok(classes.scores[0].value > 10 * classes.scores[0].floor);
  assert.ok(classes.scores[1].value > classes.scores[1].floor);

  await assertRefused(
    ["digits/test", "digits", "--count", "298"],
    /at most the 297 images of digits\/test/,
  );
  await assertRefused(
    ["digits/test", "digits/train", "--sampler", "ddim"],
    /--sampler says how a run draws/,
  );
  await assertRefused(["digits/test"], /Missing <b>/);
  await assertRefused(
    ["digitz/test", "digits"],
    /no such folder.*did you mean "digits"/,
  );
  await assertRefused(["digits/test:11", "digits"], /Unknown class "11"/);
});

Deno.test("fid of a folder has the floor of its parts, and says what is wrong with it", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/a`, few = `${folder}/few`;
    await write(path, takeImages(TEST, 100));
    await write(few, takeImages(TRAIN, 40));
    const { out, err } = await fid(few, path);
    assert.match(out, /two parts of .*a, 40 images each/);
    assert.match(err, /40 images are no more than the 84 dimensions/);
    const fewer = await fid(path, path);
    assert.match(fewer.out, /50 images each: fewer than are scored/);
    assert.match(fewer.out, /LeNet-FID +0 +[\d.]+ +–/);
    assert.match(fewer.err, /A and B are the same images/);

    await Deno.writeTextFile(`${path}/notes.txt`, "none");
    await assertRefused([path, few], /1 of 101 files.*notes\.txt.*--skip-bad/);
    assert.match(
      (await fid(path, few, "--skip-bad")).err,
      /left out as 1 of 101/,
    );
    await Deno.mkdir(`${folder}/empty`);
    await assertRefused([`${folder}/empty`, few], /no images in it/);
    await write(`${folder}/one`, takeImages(TEST, 1));
    await assertRefused([`${folder}/one`, few], /at least 2 are needed.*has 1/);
    await assertRefused(
      [few, few, "--features", "lenet-mnist"],
      /must be 1 × 28 × 28: they are 1 × 8 × 8/,
    );
    await Deno.writeFile(`${folder}/broken.npz`, new Uint8Array(30));
    await assertRefused(
      [`${folder}/broken.npz`, few],
      /broken\.npz: Cannot parse/,
    );
  });
});

Deno.test("fid draws from a run, and what was interrupted goes on", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const made = await run("train", "vae", "--steps", "3", "--out", path);
    assert.equal(made.code, 0, made.err);
    const found = await scored(path, "digits/test", "--count", "20");
    assert.equal(found.a.id, "prior");
    assert.equal(found.floor.count, 20);
    assert.ok(found.scores[0].aboveFloor > 0);
    await write(`${folder}/few`, takeImages(TEST, 20));
    const other = await scored(path, `${folder}/few`);
    assert.equal(other.floor.of, "digits/train against digits/test");
    assert.equal(other.a.checksum, found.a.checksum);
    await assertRefused([path, "digits", "--sampler", "ddim"], /ddpm/);

    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--quiet", "tasks/fid.ts", "digits", "digits/test"],
        ...["--features", "random", "--count", "290"],
      ],
      cwd: new URL("../../", import.meta.url),
      env: { NO_COLOR: "1", DENOISE_DATA: `${folder}/cache` },
      stdout: "piped",
      stderr: "piped",
    });
    const stopped = child.spawn();
    const reader = stopped.stderr.getReader();
    await reader.read(); // the first line of progress
    stopped.kill("SIGINT");
    reader.releaseLock();
    const { code, stderr } = await stopped.output();
    const text = new TextDecoder().decode(stderr);
    assert.equal(code, 1, text);
    assert.match(text, /Interrupted: features of \d+ of 290 images of digits/);
    const again = await child.output();
    assert.equal(again.code, 0, new TextDecoder().decode(again.stderr));
    assert.match(new TextDecoder().decode(again.stdout), /Random-FID/);
  });
});
