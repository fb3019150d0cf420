/**
 * A report on runs, before it is written as a page, Markdown or CSV.
 *
 * @module
 */
import denoise from "../deno.json" with { type: "json" };
import { commandName } from "./_cli.ts";
import { join } from "./_path.ts";
import { type Grid, layOut, wayOf } from "./_report_cells.ts";
import { classFigures } from "./_report_classes.ts";
import {
  entriesOf,
  type Entry,
  figuresOf,
  gridOf,
  type Picture,
  type ReportRun,
} from "./_report_data.ts";
import {
  type Colors,
  colorsOf,
  type Figure,
  fileOf,
} from "./_report_figures.ts";
import { placesFigures } from "./_report_places.ts";
import { sweepFigures } from "./_report_sweeps.ts";
import { type Table, tablesOf } from "./_report_tables.ts";
import { trainingFigures } from "./_report_training.ts";
import { warningsOf } from "./_report_warnings.ts";

/** Charts with a heading. */
export interface Section {
  /** Of the heading, and for links. */
  readonly id: string;
  readonly title: string;
  readonly text: string;
  readonly figures: readonly Figure[];
}

/** A table with all that is said of it. */
export interface ReportTable extends Table {
  readonly grid: Grid;
  /** What all rows have in common. */
  readonly settings: string;
}

/** Images, drawn or real. */
export interface Sample extends Picture {
  /** Name of the file, without extension. */
  readonly file: string;
  /** How they were drawn. */
  readonly caption: string;
  /** Missing for real ones. */
  readonly run?: ReportRun;
}

/** What is written. */
export interface Report {
  readonly title: string;
  /** In a sentence, what is compared. */
  readonly summary: string;
  readonly warnings: readonly string[];
  readonly runs: readonly ReportRun[];
  readonly entries: readonly Entry[];
  readonly colors: Colors;
  readonly tables: readonly ReportTable[];
  /** Images of each table: real ones, and those of entries. */
  readonly samples: readonly Sample[];
  readonly sections: readonly Section[];
  /** Figures of the runs that have them. */
  readonly pictures: readonly {
    readonly run: ReportRun;
    readonly pictures: readonly Picture[];
  }[];
  /** The command, version and day that made it. */
  readonly origin: string;
}

/** How a report is made. */
export interface ReportOptions {
  readonly title?: string;
  /** As for `tablesOf`. */
  readonly apart: boolean;
  /** Folder for what is costly to compute. */
  readonly out: string;
  /** Shows no progress. */
  readonly quiet: boolean;
}

/**
 * Makes a report, and its folder.
 *
 * @throws {UsageError} If rows are not comparable, unless `apart`.
 */
export async function makeReport(
  runs: readonly ReportRun[],
  { title, apart, out, quiet }: ReportOptions,
): Promise<Report> {
  const entries = entriesOf(runs);
  const tables = tablesOf(entries, apart);
  await Deno.mkdir(out, { recursive: true });
  const colors = colorsOf(runs);
  const samples: Sample[] = [];
  const places: Figure[] = [], sweeps: Figure[] = [];
  for (const [i, table] of tables.entries()) {
    const group = table.rows.flatMap((row) => row.entries);
    samples.push(...await samplesOf(group, i));
    sweeps.push(...await sweepFigures(group, colors));
    const cache = join(out, `tsne-${i + 1}.json`);
    places.push(...await placesFigures(group, colors, cache, quiet));
  }
  const sections: Section[] = [
    {
      id: "sweeps",
      title: "Evaluations and guidance",
      text:
        "Scores of one run, drawn with different numbers of evaluations of the network, or strengths of guidance.",
      figures: sweeps,
    },
    {
      id: "training",
      title: "Training",
      text:
        "What the logs of the runs say. Time is that of the training steps alone. Pale lines are single values, strong ones their running mean.",
      figures: await trainingFigures(runs, colors),
    },
    {
      id: "classes",
      title: "Classes",
      text:
        "Shares of the classes, as the extractor tells them: bars for drawn images, dark strokes for real ones.",
      figures: await classFigures(entries, colors),
    },
    {
      id: "features",
      title: "Features",
      text:
        "Features of real images (grey) and drawn ones (in colour) by t-SNE, fitted once to all of a table's rows. Grey regions without colour are missed; colour off the grey looks like nothing real. Distances between groups mean little.",
      figures: places,
    },
  ];
  const pictures = [];
  for (const run of runs) {
    pictures.push({ run, pictures: await figuresOf(run) });
  }
  const ways = entries.length === runs.length
    ? ""
    : ` in ${entries.length} ways`;
  return {
    title: title ?? `Comparison of ${quantity(runs.length, "run")}`,
    summary: `${quantity(runs.length, "run")}, drawn from${ways} and judged ${
      tables.length === 1
        ? "alike."
        : `in ${tables.length} ways that do not compare.`
    }`,
    warnings: warningsOf(runs, tables),
    runs,
    entries,
    colors,
    tables: tables.map((table) => ({
      ...table,
      grid: layOut(table),
      settings: settingsOf(table),
    })),
    samples,
    sections: sections.filter(({ figures }) => figures.length > 0),
    pictures: pictures.filter(({ pictures }) => pictures.length > 0),
    origin: `Made by ${commandName()} compare, Denoise ${denoise.version}, on ${
      new Date().toISOString().slice(0, 10)
    }`,
  };
}

/** Images of a table's entries, as far as they were kept. */
async function samplesOf(
  entries: readonly Entry[],
  table: number,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const entry of entries) {
    const real = samples.length === 0 && await gridOf(entry, "real");
    if (real) {
      samples.push({
        file: fileOf("real", String(table + 1)),
        title: "Real images",
        caption: entry.scores.provenance.against,
        bytes: real,
      });
    }
    const drawn = await gridOf(entry, "drawn");
    if (!drawn) continue;
    const { run, scores: { id, provenance } } = entry;
    samples.push({
      run,
      file: fileOf("samples", run.name, id),
      title: run.name,
      caption: [...wayOf(entry), `seed ${provenance.seed}`].join(", "),
      bytes: drawn,
    });
  }
  return samples;
}

/** `1 run`, `2 runs`. */
function quantity(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** What all rows of a table have in common. */
function settingsOf({ rows }: Table): string {
  const { provenance, nearestK } = rows[0]!.entries[0].scores;
  const { count, against, checksum, extractor } = provenance;
  const { name, sha256, resize, dimensions } = extractor;
  const resized = resize === "none" ? "no resize" : `resize as ${resize}`;
  return `${count} images of each row against as many of ${against} (sha256 ${
    checksum.slice(0, 12)
  }). Features of ${name} (${dimensions} dimensions, sha256 ${
    sha256.slice(0, 12)
  }, ${resized}); k = ${nearestK} neighbours.`;
}
