/**
 * `sample`: what does not fit a run is refused before anything is drawn, and says what to change.
 *
 * @module
 */
import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { inTurn } from "../../tasks/_generator.ts";
import { readPixels } from "../../tasks/_images.ts";
import { inFolder, run, TINY } from "./_subprocess.ts";

Deno.test("sample refuses what the run cannot do, and draws what it can", async () => {
  await inFolder(async (folder) => {
    const plain = `${folder}/plain`, guided = `${folder}/guided`;
    const classifier = `${folder}/classifier`;
    const common = ["--steps", "2", ...TINY];
    const made = await Promise.all([
      run("train", "ddpm", ...common, "--out", plain),
      run(
        "train",
        "ddpm",
        ...common,
        "--conditional",
        "--class",
        "1,7",
        "--set",
        "labelDropout=0.5",
        "--out",
        guided,
      ),
      run(
        "train",
        "classifier",
        "--noisy",
        "--class",
        "0,1",
        "--steps",
        "2",
        "--set",
        "evaluateEvery=0",
        "--out",
        classifier,
      ),
    ]);
    for (const { code, err } of made) equal(code, 0, err);

    const refused: [string[], RegExp][] = [
      [[plain, "--guidance", "2"], /trained without --conditional/],
      [[plain, "--class", "7"], /trained without --conditional/],
      [[plain, "--sampling-steps", "21"], /at most the 20 timesteps/],
      [[plain, "--sampler", "hun"], /did you mean "heun"/],
      [[plain, "--sampler", "dpmpp", "--eta", "1"], /--eta is for .* ddim/],
      [[plain, "--churn", "1"], /--churn is for --sampler heun/],
      [
        [plain, "--sampler", "ddpm", "--interpolate", "4"],
        /--interpolate needs a sampler without noise/,
      ],
      [
        [guided, "--guidance-interval", "3,1"],
        /two ascending noise levels, such as 0\.3,5: given 3,1/,
      ],
      [
        [guided, "--class", "3"],
        /Unknown class "3" of guided: classes are 0 1, 1 7/,
      ],
      [
        [plain, "--classifier", guided],
        /a checkpoint of ddpm, not of a classi/,
      ],
      [
        [plain, "--classifier", classifier, "--class", "5"],
        /knows no class "5", only 0, 1/,
      ],
      [[classifier], /a checkpoint of classifier, not of ddpm/],
    ];
    const results = await Promise.all(
      refused.map(([args]) => run("sample", ...args, "--count", "2")),
    );
    results.forEach(({ code, err }, i) => {
      const [args, want] = refused[i]!;
      equal(code === 0, false, args.join(" "));
      match(err.replaceAll(/\s+/g, " "), want);
      doesNotMatch(err, /^\s+at /m, "no stack trace");
    });

    const grid = `${folder}/grid.png`;
    const drawn: [string[], number][] = [
      [[guided, "--guidance", "3", "--guidance-interval", "0.5,4"], 6],
      [[plain, "--classifier", classifier, "--class", "1"], 6],
      [[plain, "--sampler", "heun", "--interpolate", "3"], 6],
    ];
    for (const [args, count] of drawn) {
      const { code, err } = await run(
        "sample",
        ...args,
        "--count",
        String(count),
        "--grid",
        grid,
      );
      equal(code, 0, `${args.join(" ")}: ${err}`);
    }
    // The last one: two rows of three.
    const { width, height } = await readPixels(grid);
    equal(width > height, true, `${width} x ${height}`);

    const out = `${folder}/images`;
    const { code } = await run(
      "sample",
      guided,
      "--class",
      "7",
      "--first",
      "5",
      "--count",
      "2",
      "--out",
      out,
    );
    equal(code, 0);
    deepEqual(Array.from(Deno.readDirSync(out), ({ name }) => name).sort(), [
      "00005.png",
      "00006.png",
    ]);
  });
});

Deno.test("classes are dealt by the number of the image, or of its row", () => {
  const all = [3, 8, 5, 3, 8, 5, 3];
  deepEqual([...inTurn(7, [3, 8, 5])], all);
  deepEqual([...inTurn(4, [3, 8, 5], { first: 2 })], all.slice(2, 6));
  const rows = [3, 3, 3, 8, 8, 8, 3];
  deepEqual([...inTurn(7, [3, 8], { row: 3 })], rows);
  deepEqual([...inTurn(3, [3, 8], { row: 3, first: 4 })], rows.slice(4));
});

Deno.test("train refuses an image that the network cannot halve, before it makes a run", async () => {
  await inFolder(async (folder) => {
    const { code, err } = await run(
      "train",
      "ddpm",
      "--set",
      "unet.multipliers=[1, 1, 1, 1, 1]",
      "--out",
      `${folder}/run`,
    );
    equal(code, 2);
    match(
      err.replaceAll(/\s+/g, " "),
      /halves the image 4 times, so sides must be multiples of 16 pixels: they are 8 × 8/,
    );
    deepEqual(Array.from(Deno.readDirSync(folder)), []);
  });
});
