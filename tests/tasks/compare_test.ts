import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { UsageError } from "../../tasks/_cli.ts";
import type { Evaluation } from "../../tasks/_evaluation.ts";
import { makeReport } from "../../tasks/_report.ts";
import { layOut, wayOf } from "../../tasks/_report_cells.ts";
import { entriesOf, readRuns } from "../../tasks/_report_data.ts";
import { pageOf } from "../../tasks/_report_page.ts";
import { tablesOf } from "../../tasks/_report_tables.ts";
import { csvOf, markdownOf } from "../../tasks/_report_text.ts";
import { secondsOf } from "../../tasks/_report_training.ts";
import { warningsOf } from "../../tasks/_report_warnings.ts";
import { Browser, findChromium } from "./_browser.ts";
import {
  type Changes,
  logOf,
  type RunParts,
  scoresOf,
  writeRun,
} from "./_evaluated_runs.ts";
import { inFolder } from "./_subprocess.ts";

const root = new URL("../../", import.meta.url);

/** Facts of a run, with what differs. */
function facts(changes: Partial<Evaluation["facts"]> = {}) {
  return {
    model: "ddpm",
    parameters: 1_113_955,
    trainSeconds: 120,
    imagesSeen: 3200,
    ...changes,
  };
}

/** A run whose images were evaluated in one way. */
function evaluated(changes: Changes = {}, parts: RunParts = {}): RunParts {
  const evaluation = {
    facts: facts(),
    samples: [scoresOf("ddim-50", changes)],
  };
  return { evaluation, ...parts };
}

/** Writes runs by their names, and reads them. */
async function runsOf(folder: string, runs: Record<string, RunParts>) {
  const paths: string[] = [];
  for (const [name, parts] of Object.entries(runs)) {
    paths.push(`${folder}/${name}`);
    await writeRun(paths.at(-1)!, parts);
  }
  return await readRuns(paths);
}

/** A VAE, a GAN, and a diffusion model of two seeds that was drawn from in several ways. */
const MIXED: Record<string, RunParts> = {
  "ddpm-a": evaluated({
    frechet: { value: 5.5, interval: [5, 6], floor: 1.25 },
  }),
  "ddpm-b": evaluated(
    { frechet: { value: 6.5, interval: [6, 7], floor: 1.25 } },
    { seed: 1 },
  ),
  vae: {
    model: "vae",
    metrics: logOf(900),
    evaluation: {
      facts: facts({ model: "vae", trainSeconds: 20 }),
      likelihood: {
        test: { images: 100, bitsPerDim: 1.5, comparable: true },
      },
      samples: [
        scoresOf("prior", {
          frechet: { value: 20.25, interval: [19, 22], floor: 1.25 },
          provenance: { method: "prior", nfe: 1, options: {} },
        }),
        scoresOf("gmm-class", {
          frechet: { value: 6.75, interval: [5.75, 7.75], floor: 1.25 },
          provenance: { method: "gmm class", nfe: 1, options: {} },
        }),
      ],
    },
  },
  "gan <1>": {
    model: "gan",
    metrics: logOf(400, "generator_loss"),
    evaluation: {
      facts: facts({ model: "gan" }),
      samples: [scoresOf("prior", { classes: undefined })],
    },
  },
  swept: {
    config: {
      diffusion: { timesteps: 300, betaStart: 1e-4, betaEnd: 0.02 },
    },
    evaluation: {
      facts: facts(),
      samples: [
        ...[10, 50].map((steps) =>
          scoresOf(`ddim-${steps}`, {
            provenance: { nfe: steps, options: { sampler: "ddim", steps } },
          })
        ),
        scoresOf("ddim-50-guidance-2", {
          provenance: {
            nfe: 100,
            guidance: 2,
            options: { sampler: "ddim", steps: 50, guidance: 2 },
          },
        }),
      ],
    },
  },
};

/** The fields of a CSV file, by row. */
function parseCsv(text: string): string[][] {
  return text.split("\r\n").slice(0, -1).map((row) =>
    Array.from(
      row.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g),
      ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain!,
    )
  );
}

Deno.test("tablesOf() says by run what is not comparable, and why", () =>
  inFolder(async (folder) => {
    const extractor = scoresOf("x").provenance.extractor;
    const runs = await runsOf(folder, {
      a: evaluated(),
      b: evaluated({}, { model: "vae" }),
      fewer: evaluated({ provenance: { count: 100 } }),
      others: evaluated({
        nearestK: 3,
        provenance: { against: "fashion/test", checksum: "77".repeat(32) },
      }),
      weights: evaluated({
        provenance: { extractor: { ...extractor, sha256: "b6".repeat(32) } },
      }),
      resized: evaluated({
        provenance: { extractor: { ...extractor, resize: "clean-fid" } },
      }),
      // As if [0, 1] were taken for [-1, 1].
      pale: evaluated({
        provenance: { range: { drawn: [127, 255], real: [0, 255] } },
      }),
    });
    const entries = entriesOf(runs);
    throws(() => tablesOf(entries, false), (error: Error) => {
      ok(error instanceof UsageError);
      const lines = error.message.split("\n");
      match(lines[0]!, /2 have n = 500 against mnist\/test, but$/);
      deepEqual(lines.slice(1, -1), [
        "  fewer: n is 100, not 500",
        "  others: the set of real images is fashion/test, not mnist/test; the real images' sha256 is 777777777777, not 0f0f0f0f0f0f; k of the nearest neighbours is 3, not 5",
        "  weights: the extractor's sha256 is b6b6b6b6b6b6, not a5a5a5a5a5a5",
        "  resized: the resize is clean-fid, not none",
        "  pale: the range of bytes is 127 to 255, not 0 to 255",
      ]);
      match(lines.at(-1)!, /--apart/);
      return true;
    });
    const tables = tablesOf(entries, true);
    deepEqual(tables.map(({ rows }) => rows.length), [2, 1, 1, 1, 1, 1]);
    deepEqual(tables[1]!.reasons, ["n is 100, not 500"]);
    const comparable = entries.slice(0, 2);
    equal(tablesOf(comparable, false).length, 1);
  }));

Deno.test("layOut() marks the best, what is alike, and means over seeds", () =>
  inFolder(async (folder) => {
    const entries = entriesOf(await runsOf(folder, MIXED));
    const [table] = tablesOf(entries, false);
    const { columns, lines, cells, prefix } = layOut(table!);
    equal(prefix, "LeNet-");
    const column = (key: string) =>
      cells[columns.findIndex((column) => column.key === key)]!;
    deepEqual(lines.map(({ kind, name }) => `${kind} ${name}`), [
      "seeds ddpm",
      "seed ddpm-a",
      "seed ddpm-b",
      "run vae",
      "run vae",
      "run gan <1>",
      "run swept",
      "run swept",
      "run swept",
      "floor Training images",
    ]);
    const frechet = column("frechet");
    deepEqual(frechet.map((cell) => cell?.text), [
      "6.00",
      "5.50",
      "6.50",
      "20.25",
      "6.75",
      ...Array(4).fill("12.50"),
      "1.25",
    ]);
    equal(frechet[0]!.value, 6);
    equal(frechet[0]!.std, Math.SQRT1_2); // of 5.5 and 6.5
    deepEqual(frechet[1]!.small, ["5.00 – 6.00"]);
    equal(frechet.findIndex((cell) => cell?.mark === "best"), 0);
    equal(frechet.filter((cell) => cell?.mark === "best").length, 1);
    // All the same: none is best.
    ok(column("precision").every((cell) => cell?.mark === undefined));
    const seconds = column("train_seconds");
    deepEqual(
      seconds.map((cell) => cell?.mark === "best"),
      lines.map(({ name }) => name === "vae"),
    );
    // Only the VAE has a bound, so that nothing is the best; the floor has none.
    deepEqual(
      column("bits_per_dim").map((cell) => cell?.text),
      lines.map(({ name }) => name === "vae" ? "1.500" : undefined),
    );
    ok(column("bits_per_dim").every((cell) => !cell?.mark));

    const rivals = entries.filter(({ run }) => run.name !== "ddpm-a");
    const alike = layOut(tablesOf(rivals, false)[0]!);
    deepEqual(alike.cells[0]!.map((cell) => cell?.mark), [
      "best", // 6 to 7
      undefined,
      "alike", // 5.75 to 7.75
      ...Array(5).fill(undefined),
    ]);
  }));

Deno.test("wayOf() tells ways apart that differ in a flag", async () => {
  await inFolder(async (folder) => {
    const told = async (options: Record<string, unknown>) => {
      const run = evaluated({ provenance: { guidance: 2, options } });
      const [entry] = entriesOf(await runsOf(folder, { run }));
      return wayOf(entry!);
    };
    const usual = { sampler: "ddim", steps: 50, guidance: 2 };
    const way = ["ddim", "50 NFE", "guidance 2"];
    deepEqual(await told(usual), way);
    deepEqual(
      await told({ ...usual, eta: 1, class: ["3", "8"] }),
      [...way, "eta 1", "class 3,8"],
    );
  });
});

Deno.test("warningsOf() suspects what is better than real images beyond chance", async () => {
  await inFolder(async (folder) => {
    const at = (value: number, high: number) =>
      evaluated({ frechet: { value, interval: [0.5, high], floor: 1.25 } });
    const copied = { drawn: 1, real: 2, share: 0.6 };
    const runs = await runsOf(folder, {
      usual: at(2, 3),
      lucky: at(1, 1.5),
      copies: at(1, 1.2),
      known: evaluated({ memorization: copied }),
    });
    const warnings = warningsOf(runs, tablesOf(entriesOf(runs), false));
    const about = (name: string) =>
      warnings.filter((warning) => warning.includes(name)).length;
    deepEqual(["usual", "lucky", "copies", "known"].map(about), [0, 0, 1, 1]);
    match(warnings.join("\n"), /copies is nearer to the real images/);
    match(warnings.join("\n"), /60\.0 % of the images of known/);
  });
});

Deno.test("csvOf() and markdownOf() hold the numbers of the table", () =>
  inFolder(async (folder) => {
    const runs = await runsOf(folder, {
      ...MIXED,
      'comma, "q"': evaluated({}, { config: { batchSize: 16 } }),
    });
    const options = { apart: false, out: `${folder}/out`, quiet: true };
    const report = await makeReport(runs, options);
    const [head, ...rows] = parseCsv(csvOf(report));
    ok(rows.every((row) => row.length === head!.length));
    const records = rows.map((row) =>
      Object.fromEntries(head!.map((name, i) => [name, row[i]!]))
    );
    equal(records.length, report.tables[0]!.grid.lines.length);
    for (const { run, scores } of report.entries) {
      const record = records.find((record) =>
        record.run === run.name && record.id === scores.id
      )!;
      equal(Number(record.frechet), scores.frechet.value);
      equal(Number(record.frechet_high), scores.frechet.interval![1]);
      equal(Number(record.kernel_std), scores.kernel.std);
      equal(Number(record.ms_per_image), scores.cost.msPerImage);
      equal(Number(record.n), scores.provenance.count);
      equal(Number(record.noise_seed), scores.provenance.seed);
      equal(record.against, "mnist/test");
    }
    equal(Number(records.at(-1)!.frechet), 1.25); // the floor
    equal(records.at(-1)!.row, "floor");

    const markdown = markdownOf(report);
    match(
      markdown,
      /^\| ddpm \(mean ± deviation of 2 seeds\) \| ddim, 50 NFE \| 500 \| \*\*6\.00\*\* \(± 0\.71\) \|/m,
    );
    ok(markdown.includes("### gan &lt;1>"));
    const table = markdown.split("\n").filter((line) => line.startsWith("|"));
    equal(table.length, rows.length + 2);
    equal(new Set(table.map((line) => line.split("|").length)).size, 1);
    match(markdown, /- ⚠ swept: The schedule never reaches noise: 22 %/);
    for (const [, path] of markdown.matchAll(/\]\((images\/[^)]+)\)/g)) {
      match(path!, /^images\/[\w.-]+\.png$/);
    }
  }));

Deno.test("makeReport() draws what the runs hold, and fits t-SNE once", () =>
  inFolder(async (folder) => {
    const runs = await runsOf(folder, MIXED);
    const options = { apart: false, out: `${folder}/out`, quiet: true };
    const report = await makeReport(runs, options);
    equal(report.samples.length, 1 + 8);
    equal(report.samples[0]!.title, "Real images");
    deepEqual(
      report.sections.map(({ id, figures }) => [id, figures.length]),
      [
        ["sweeps", 3], // by evaluations; by guidance, with precision and recall
        ["training", 2 + 3 * 2], // the bound, and losses of three models
        ["classes", 7], // not of the GAN, whose extractor knew none
        ["features", 8],
      ],
    );
    const cache = `${folder}/out/tsne-1.json`;
    const { places } = JSON.parse(await Deno.readTextFile(cache));
    equal(places.length, 2 * (20 + 8 * 20));
    const before = await Deno.stat(cache);
    const again = await makeReport(runs, options);
    deepEqual((await Deno.stat(cache)).mtime, before.mtime);
    deepEqual(again.sections[3], report.sections[3]);
  }));

Deno.test("secondsOf() follows the speed that the log tells", () => {
  const metrics = [
    { step: 10, images_per_second: 100 },
    { step: 10, elbo_test: -3 },
    { step: 30, images_per_second: 50 },
  ];
  deepEqual(secondsOf({ metrics, config: { batchSize: 20 } }), [2, 2, 10]);
});

Deno.test("pageOf() holds all it needs and escapes names", () =>
  inFolder(async (folder) => {
    const runs = await runsOf(folder, MIXED);
    const page = pageOf(
      await makeReport(runs, {
        title: "A <b>title</b>",
        apart: false,
        out: `${folder}/out`,
        quiet: true,
      }),
    );
    ok(!/https?:/.test(page));
    ok(!/<(script|link|iframe)\b/.test(page));
    const images = Array.from(page.matchAll(/<img[^>]*? src="([^"]*)"/g));
    equal(images.length, 9);
    for (const [, url] of images) match(url!, /^data:image\/png;base64,/);
    match(page, /<title>A &#60;b&#62;title&#60;\/b&#62;<\/title>/);
    ok(page.includes("gan &#60;1&#62;") && !page.includes("gan <1>"));
    const ids = Array.from(page.matchAll(/ id="([^"]*)"/g), ([, id]) => id);
    equal(new Set(ids).size, ids.length);
  }));

/** Runs the task under the permissions that deno.json gives it. */
async function compare(...args: string[]) {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", root)),
  ) as { tasks: Record<string, string> };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...tasks.compare!.split(" ").slice(1), ...args],
    cwd: root,
    env: { NO_COLOR: "1", INIT_CWD: "", DENOISE_DEBUG: "" },
    stdin: "null",
  }).output();
  const [out, err] = [stdout, stderr].map((b) => new TextDecoder().decode(b));
  return { code, out: out!, err: err! };
}

Deno.test("compare writes a report, again over itself, and not over other files", () =>
  inFolder(async (folder) => {
    await runsOf(folder, { a: evaluated(), b: evaluated({}, { seed: 1 }) });
    const runs = [`${folder}/a`, `${folder}/b`], out = `${folder}/out`;
    const first = await compare(...runs, "--out", out, "--json");
    equal(first.code, 0, first.err);
    const { files, rows } = JSON.parse(first.out);
    deepEqual(
      rows.map(({ row }: { row: string }) => row),
      ["seeds", "seed", "seed", "floor"],
    );
    const written = Array.from(Deno.readDirSync(out), ({ name }) => name);
    deepEqual(written.sort(), [
      "images",
      "report.html",
      "report.md",
      "table.csv",
      "tsne-1.json",
    ]);
    const markdown = await Deno.readTextFile(files.markdown);
    for (const [, path] of markdown.matchAll(/\]\((images\/[^)]+)\)/g)) {
      ok((await Deno.stat(`${out}/${path}`)).size > 0);
    }
    const again = await compare(...runs, "--out", out, "--title", "Twice");
    equal(again.code, 0, again.err);
    match(again.out, /^Run +Drawing +LeNet-FID/);
    match(await Deno.readTextFile(files.page), /<h1>Twice<\/h1>/);

    const foreign = await compare(...runs, "--out", `${folder}/a`);
    equal(foreign.code, 2);
    match(
      foreign.err,
      /^error: Cannot write a report to .*\/a as it holds other files, such as config\.yaml: .*--out.*--force/,
    );
  }));

Deno.test("compare names all runs that lack an evaluation, and refuses what does not compare", () =>
  inFolder(async (folder) => {
    await runsOf(folder, { a: evaluated() });
    for (
      const [name, parts] of Object.entries({
        "b c": {},
        d: { evaluation: { facts: facts() } },
        few: evaluated({ provenance: { count: 100 } }),
      })
    ) await writeRun(`${folder}/${name}`, parts);
    const out = `${folder}/out`;
    const [bare, unequal] = await Promise.all([
      compare(`${folder}/a`, `${folder}/b c`, `${folder}/d`, "--out", out),
      compare(`${folder}/a`, `${folder}/few`, "--out", out),
    ]);
    equal(bare.code, 2);
    match(
      bare.err,
      /2 of the runs were evaluated: run deno task evaluate '[^']*\/b c' \S*\/d\n/,
    );
    equal(unequal.code, 2);
    match(unequal.err, /\n {2}few: n is 100, not 500\n/);
    ok(
      !Array.from(Deno.readDirSync(folder)).some(({ name }) => name === "out"),
    );
  }));

const chromium = findChromium();
Deno.test({
  name: chromium
    ? "the page renders on desktops and phones, in light and dark"
    : "the page renders in a browser (install Chromium, or set CHROMIUM to its path)",
  ignore: chromium === undefined,
  fn: () =>
    inFolder(async (folder) => {
      const runs = await runsOf(folder, MIXED);
      const options = { apart: false, out: `${folder}/out`, quiet: true };
      const report = await makeReport(runs, options);
      const page = `${folder}/report.html`;
      await Deno.writeTextFile(page, pageOf(report));
      await using browser = await Browser.open(chromium!);
      const views = [
        { width: 1280, height: 900, phone: false },
        { width: 390, height: 844, phone: true },
      ];
      for (const view of views) {
        const papers = [];
        for (const scheme of ["light", "dark"] as const) {
          await browser.load(`file://${page}`, { ...view, scheme });
          deepEqual(browser.complaints, []);
          const seen = await browser.evaluate<Record<string, unknown>>(`({
            rows: document.querySelectorAll("tbody tr").length,
            overflow: document.documentElement.scrollWidth - innerWidth,
            images: document.images.length,
            broken: [...document.images].filter((i) => i.naturalWidth === 0).length,
            charts: [...document.querySelectorAll("svg")]
              .filter((svg) => svg.getBoundingClientRect().width > 200).length,
            scrolls: document.querySelector(".scroll").scrollWidth > innerWidth,
          })`);
          deepEqual(seen, {
            rows: 10,
            overflow: 0,
            images: 9,
            broken: 0,
            charts: 26,
            scrolls: true,
          });
          // The names of runs stay where the table scrolls.
          const [left, text, paper] = await browser.evaluate<string[]>(`(() => {
            document.querySelector(".scroll").scrollLeft = 500;
            const name = document.querySelector("tbody th");
            const text = getComputedStyle(document.querySelector(".marks text"));
            const { background, backgroundColor } = getComputedStyle(document.body);
            return [
              name.getBoundingClientRect().left -
                document.querySelector(".scroll").getBoundingClientRect().left,
              text.fill,
              backgroundColor,
            ].map(String);
          })()`);
          ok(Number(left) < 2, left);
          papers.push(brightness(paper!));
          ok(Math.abs(brightness(text!) - brightness(paper!)) > 150);
        }
        ok(papers[0]! > 200 && papers[1]! < 60, papers.join());
      }
    }),
});

/** Of `rgb(…)`, 0 to 255. */
function brightness(color: string): number {
  const [r, g, b] = color.match(/\d+/g)!.map(Number);
  return (r! + g! + b!) / 3;
}
