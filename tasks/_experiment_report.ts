/**
 * The table of an experiment: every metric as published and as measured here, with its caveats.
 *
 * @module
 */
import type { Bound, Estimate, RunFacts, SampleScores } from "./_evaluation.ts";
import {
  type Claim,
  type Experiment,
  type Metric,
  METRICS,
  type Row,
} from "./_experiments.ts";
import { formatTable, wrap } from "./_text.ts";

/** What was found of a row. */
export interface Measured {
  readonly scores: SampleScores;
  readonly facts?: RunFacts;
  /** Of its model, by split; on one row of each run. */
  readonly bounds?: Readonly<Partial<Record<"train" | "test", Bound>>>;
  /** Images that the publication's training shows. */
  readonly publishedImages: number;
}

/** All that the table says. */
export interface Findings {
  /** As `reproduce` takes it. */
  readonly name: string;
  readonly experiment: Experiment;
  /** By the names of rows; all of them. */
  readonly measured: Readonly<Record<string, Measured>>;
  /** Lines on how it was made. */
  readonly setup: readonly string[];
  /** Further caveats of the table as a whole. */
  readonly notes: readonly string[];
}

/** A line of the table. */
interface Line {
  readonly name: string;
  readonly published: string;
  readonly measured: string;
}

/** The lines of a metric. */
interface Group {
  readonly metric: Metric;
  readonly title: string;
  readonly lines: readonly Line[];
}

/** What a publication says, and whether it holds. */
interface Verdict {
  readonly text: string;
  readonly published: string;
  readonly measured: string;
}

/** A table in words. */
export interface Report {
  readonly heading: readonly string[];
  readonly groups: readonly Group[];
  readonly verdicts: readonly Verdict[];
  /** Caveats; number i + 1 is what [i + 1] in names and titles means. */
  readonly footnotes: readonly string[];
}

const NOTHING = "–";

/** What a row was found to have. */
export function measuredOf(
  { scores, facts, bounds }: Measured,
): Partial<Record<Metric, Estimate>> {
  const { frechet, kernel, precision, recall, density, coverage } = scores;
  const bits = (bound: Bound | undefined): Estimate | undefined =>
    bound?.comparable && bound.bitsPerDim !== undefined
      ? { value: bound.bitsPerDim, std: bound.standardError }
      : undefined;
  return {
    ...facts && {
      imagesSeen: { value: facts.imagesSeen },
      trainSeconds: { value: facts.trainSeconds },
    },
    msPerImage: { value: scores.cost.msPerImage },
    bitsTrain: bits(bounds?.train),
    bitsTest: bits(bounds?.test),
    frechet,
    kernel: scaled(kernel, 1000),
    precision,
    recall,
    density,
    coverage,
    totalVariation: scores.classes && { value: scores.classes.totalVariation },
  };
}

function scaled({ value, std, floor }: Estimate, by: number): Estimate {
  return {
    value: value * by,
    std: std === undefined ? undefined : std * by,
    floor: floor === undefined ? undefined : floor * by,
  };
}

/** What was published of a row; the images follow from the preset. */
function publishedOf(
  { experiment }: Findings,
  { published = {} }: Row,
  { publishedImages }: Measured,
): Partial<Record<Metric, number>> {
  return experiment.asPublished
    ? { imagesSeen: publishedImages, ...published }
    : published;
}

/** Puts a table together. */
export function reportOf(findings: Findings): Report {
  const { name, experiment, measured, setup, notes } = findings;
  const footnotes: string[] = [];
  const marks = (texts: readonly string[]) =>
    texts.map((text) => {
      if (!footnotes.includes(text)) footnotes.push(text);
      return ` [${footnotes.indexOf(text) + 1}]`;
    }).join("");
  const whole = marks([...experiment.notes.all ?? [], ...notes]);
  const heading = [
    `${name}: ${experiment.title}${whole}`,
    `Source: ${experiment.source}`,
    ...setup,
  ];
  const groups = (Object.keys(METRICS) as Metric[]).flatMap((metric) => {
    const lines = experiment.rows.flatMap((row): Line[] => {
      const found = measured[row.name]!;
      const was = publishedOf(findings, row, found)[metric];
      const is = measuredOf(found)[metric];
      if (was === undefined && !is) return [];
      const isVoid = row.invalid?.includes(metric);
      return [{
        name: row.name + marks(row.notes ?? []),
        published: was === undefined
          ? NOTHING
          : writePublished(metric, was) + (isVoid ? " (void)" : ""),
        measured: is ? withShare(metric, is, was) : NOTHING,
      }];
    });
    if (lines.length === 0) return [];
    return [{
      metric,
      title: titleOf(findings, metric) + marks(experiment.notes[metric] ?? []),
      lines: [...lines, ...floorsOf(findings, metric)],
    }];
  });
  return {
    heading,
    groups,
    verdicts: experiment.claims.map((claim) => verdictOf(findings, claim)),
    footnotes,
  };
}

/** Names the features that scores here are of. */
function titleOf({ measured }: Findings, metric: Metric): string {
  const { extractor } = Object.values(measured)[0]!.scores.provenance;
  return metric === "frechet"
    ? `${METRICS.frechet} (here ${extractor.prefix}FID)`
    : METRICS[metric];
}

/** What real training images have, by the test images they are compared with. */
function floorsOf(
  { experiment, measured }: Findings,
  metric: Metric,
): Line[] {
  const floors = new Map<string, number>();
  for (const row of experiment.rows) {
    const floor = measuredOf(measured[row.name]!)[metric]?.floor;
    if (floor !== undefined) floors.set(againstOf(experiment, row), floor);
  }
  return [...floors].map(([against, floor]) => ({
    name: `real training images, ${against}`,
    published: metric === "frechet" && experiment.floor !== undefined &&
        against === experiment.against
      ? writePublished(metric, experiment.floor)
      : NOTHING,
    measured: write(metric, floor),
  }));
}

/** What the images of a row are compared with. */
export function againstOf(experiment: Experiment, row: Row): string {
  return row.against ?? experiment.against;
}

function withShare(
  metric: Metric,
  { value, std }: Estimate,
  published: number | undefined,
): string {
  const text = write(metric, value);
  if (metric === "imagesSeen" && published && value !== published) {
    return `${text} (${Number((100 * value / published).toPrecision(2))} %)`;
  }
  return std === undefined ? text : `${text} ± ${write(metric, std)}`;
}

/** With the digits that were printed. */
function writePublished(metric: Metric, value: number): string {
  return Number.isInteger(value) ? write(metric, value) : value.toFixed(3);
}

/** With about four digits. */
function write(metric: Metric, value: number): string {
  if (metric === "imagesSeen") return value.toLocaleString("en");
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return value.toFixed(digits).replace("-", "−");
}

function verdictOf(
  findings: Findings,
  { text, metric, below, above }: Claim,
): Verdict {
  const { experiment, measured } = findings;
  const [low, high] = [below, above].map((name) => {
    const row = experiment.rows.find((row) => row.name === name)!;
    const found = measured[name]!;
    return {
      was: publishedOf(findings, row, found)[metric],
      is: measuredOf(found)[metric],
    };
  });
  const compared = (a: number, b: number, writes: typeof write) => {
    if (a === b) return `equal: ${writes(metric, a)}`;
    const [answer, sign] = a < b ? ["yes", "<"] : ["no", ">"];
    return `${answer}: ${writes(metric, a)} ${sign} ${writes(metric, b)}`;
  };
  const published = low!.was === undefined || high!.was === undefined
    ? "in words"
    : compared(low!.was, high!.was, writePublished);
  if (!low!.is || !high!.is) return { text, published, measured: NOTHING };
  const [a, b] = [low!.is, high!.is];
  const spreads = [[a, below], [b, above]] as const;
  const spread = Math.hypot(
    ...spreads.map(([estimate, name]) =>
      spreadOf(metric, estimate, measured[name]!.scores.provenance.count)
    ),
  );
  const isNoise = a.value !== b.value &&
    Math.abs(a.value - b.value) < 2 * spread;
  return {
    text,
    published,
    measured: compared(a.value, b.value, write) +
      (isNoise ? ", within noise" : ""),
  };
}

/** Standard deviation of a score of `n` images, as far as it is known. */
function spreadOf(
  metric: Metric,
  { value, std, interval }: Estimate,
  n: number,
): number {
  if (std !== undefined) return std;
  if (interval) return (interval[1] - interval[0]) / (2 * 1.96);
  // Shares of images, as if these fell independently.
  const isShare = ["precision", "recall", "coverage"].includes(metric);
  return isShare ? Math.sqrt(value * (1 - value) / n) : 0;
}

/** A table for the terminal. */
export function toText(
  { heading, groups, verdicts, footnotes }: Report,
  width: number,
): string {
  const rows = groups.flatMap(({ title, lines }) => [
    [title],
    ...lines.map(({ name, published, measured }) => [
      `  ${name}`,
      published,
      measured,
    ]),
  ]);
  // A title may run into the columns of numbers, which it has none of.
  const left = Math.max(
    ...rows.filter((row) => row.length > 1).map(([name]) => name!.length),
  );
  const table = formatTable(
    [
      ["".padEnd(left), "As published", "Measured here"],
      ...rows.map(([name, ...cells]) => [
        cells.length > 0 ? name! : "",
        ...cells,
      ]),
    ],
    { right: [1, 2] },
  ).split("\n");
  const titled = table.map((line, i) =>
    i > 0 && rows[i - 1]!.length === 1 ? rows[i - 1]![0]! : line
  );
  const parts = [
    heading.map((line) => wrap(line, width)).join("\n"),
    titled.join("\n"),
  ];
  if (verdicts.length > 0) {
    parts.push(
      formatTable([
        ["What the publication says", "As published", "Measured here"],
        ...verdicts.map(({ text, published, measured }) => [
          text,
          published,
          measured,
        ]),
      ]),
    );
  }
  if (footnotes.length > 0) {
    parts.push(
      footnotes.map((text, i) => wrap(`[${i + 1}] ${text}`, width)).join("\n"),
    );
  }
  return parts.join("\n\n");
}

/** A table for `reproduce.md`. */
export function toMarkdown(
  { heading, groups, verdicts, footnotes }: Report,
): string {
  const [title, ...lines] = heading;
  const cells = (...row: string[]) => `| ${row.join(" | ")} |`;
  const parts = [
    `# ${title}`,
    lines.join("\\\n"),
    [
      cells("", "As published", "Measured here"),
      "| --- | ---: | ---: |",
      ...groups.flatMap(({ title, lines }) => [
        cells(`**${title}**`, "", ""),
        ...lines.map(({ name, published, measured }) =>
          cells(name, published, measured)
        ),
      ]),
    ].join("\n"),
  ];
  if (verdicts.length > 0) {
    parts.push(
      [
        cells("What the publication says", "As published", "Measured here"),
        "| --- | --- | --- |",
        ...verdicts.map(({ text, published, measured }) =>
          cells(text, published, measured)
        ),
      ].join("\n"),
    );
  }
  if (footnotes.length > 0) {
    parts.push(footnotes.map((text, i) => `[${i + 1}] ${text}`).join("\\\n"));
  }
  return `${parts.join("\n\n")}\n`;
}
