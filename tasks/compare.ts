/**
 * `deno task compare RUN…`: one report on several evaluated runs: a page, Markdown, CSV and images.
 *
 * @module
 */
import {
  defineCommand,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { join } from "./_path.ts";
import { svgToPng } from "./_plots.ts";
import { makeReport, type Report } from "./_report.ts";
import { readOptional, readRuns } from "./_report_data.ts";
import { GENERATOR, pageOf } from "./_report_page.ts";
import { csvOf, markdownOf, pictureFile, recordsOf } from "./_report_text.ts";
import { writeAtomic } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";

/** What `deno task compare` accepts. */
export const command = defineCommand({
  ...taskInfo("compare"),
  positionals: [{
    name: "run",
    description: "Run folders that evaluate has judged",
    repeated: true,
  }],
  flags: {
    out: {
      type: "string",
      placeholder: "DIR",
      default: "comparison",
      description:
        "Folder of the report; one that holds a report is overwritten",
    },
    title: {
      type: "string",
      placeholder: "TEXT",
      description: "Title of the report",
    },
    apart: {
      type: "boolean",
      default: false,
      description:
        "Show rows that are not comparable in tables of their own, with the reason",
    },
    force: {
      type: "boolean",
      default: false,
      description: "Write the report into a folder that holds other files too",
    },
  },
  notes:
    "Writes report.html, which needs no other file and no network, report.md with its images, and table.csv. Rows are comparable if they have equal numbers of images, real images, extractors, resizes and ranges of bytes. Runs that differ only in their seed also get a row with mean and standard deviation.",
});

/** Columns of the table that is printed. */
const PRINTED = [
  "frechet",
  "kernel",
  "precision",
  "recall",
  "density",
  "coverage",
  "bits_per_dim",
  "ms_per_image",
];

/**
 * Checks that a report may be written to a folder: there is none, it is empty, or it holds a report.
 *
 * @throws {UsageError} If it holds something else.
 */
async function checkFolder(out: string): Promise<void> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(out)) names.push(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (!(error instanceof Deno.errors.NotADirectory)) throw error;
    throw new UsageError(`Cannot write a report to ${out}: it is a file`);
  }
  const page = await readOptional(join(out, "report.html"));
  const isOurs = page && new TextDecoder().decode(page.subarray(0, 1000))
    .includes(`name="generator" content="${GENERATOR}"`);
  if (names.length === 0 || isOurs) return;
  throw new UsageError(
    `Cannot write a report to ${out} as it holds other files, such as ${
      names.sort()[0]
    }: choose another folder with --out, or add --force to write beside them`,
  );
}

/** Writes the images of the Markdown file. */
async function writeImages(report: Report, folder: string): Promise<void> {
  const write = (name: string, data: string | Uint8Array) =>
    writeAtomic(join(folder, name), data);
  for (const { file, bytes } of report.samples) {
    await write(`${file}.png`, bytes);
  }
  for (const { file, svg } of report.sections.flatMap((s) => s.figures)) {
    await write(`${file}.svg`, svg);
    await write(`${file}.png`, await svgToPng(svg));
  }
  for (const { run, pictures } of report.pictures) {
    for (const [i, { bytes }] of pictures.entries()) {
      await write(`${pictureFile(run.name, i)}.png`, bytes);
    }
  }
}

/** The tables with their main columns. */
function printedTables({ tables }: Report): string {
  return tables.map(({ grid, settings }) => {
    const { columns, lines, cells, prefix } = grid;
    const shown = columns.map((_, c) => c)
      .filter((c) => PRINTED.includes(columns[c]!.key));
    const head = [
      "Run",
      "Drawing",
      ...shown.map((c) => columns[c]!.title(prefix)),
    ];
    const rows = lines.map((line, l) => [
      line.kind === "seed" ? `  ${line.name}` : line.name,
      [line.method, line.methodSmall].filter(Boolean).join(", "),
      ...shown.map((c) => {
        const cell = cells[c]![l];
        return cell ? `${cell.text}${cell.mark === "best" ? " *" : "  "}` : "";
      }),
    ]);
    const right = head.map((_, i) => i).slice(2);
    return `${formatTable([head, ...rows], { right })}\n${settings}`;
  }).join("\n\n");
}

/**
 * Makes a report and writes it.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  const out = userPath(flags.out);
  const runs = await readRuns(positionals.map(userPath));
  if (!flags.force) await checkFolder(out);
  const { title, apart } = flags;
  const report = await makeReport(runs, { title, apart, out, quiet: json });
  const images = join(out, "images");
  await Deno.mkdir(images, { recursive: true });
  await writeImages(report, images);
  const files = {
    csv: join(out, "table.csv"),
    markdown: join(out, "report.md"),
    page: join(out, "report.html"),
  };
  await writeAtomic(files.csv, csvOf(report));
  await writeAtomic(files.markdown, markdownOf(report));
  await writeAtomic(files.page, pageOf(report));
  const { warnings } = report;
  if (json) {
    console.log(JSON.stringify({ files, warnings, rows: recordsOf(report) }));
    return;
  }
  for (const warning of warnings) console.error(`warning: ${warning}`);
  console.log(printedTables(report));
  console.error(`Wrote ${Object.values(files).join(", ")}`);
}

if (import.meta.main) await runTask(command, main);
