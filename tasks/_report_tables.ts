/**
 * Which rows of a report may stand in one table, and which differ only in their seed.
 *
 * @module
 */
import { commandName, UsageError } from "./_cli.ts";
import type { SampleScores } from "./_evaluation.ts";
import type { Entry } from "./_report_data.ts";

/** Entries that differ in nothing but seeds: one or several. */
export interface Row {
  readonly entries: readonly [Entry, ...Entry[]];
}

/** Rows that may be compared. */
export interface Table {
  readonly rows: readonly Row[];
  /** How it differs from the first table; empty for that. */
  readonly reasons: readonly string[];
}

/**
 * Drawn images whose bytes span no more of the real ones' range were scaled in another way: [0, 1] taken for
 * [-1, 1] gives half of it.
 */
const RANGE_SHARE = 0.51;

/** What must be equal for scores to be comparable. */
const ASPECTS: readonly (readonly [
  name: string,
  of: (scores: SampleScores) => string | number,
])[] = [
  ["n", ({ provenance }) => provenance.count],
  ["the set of real images", ({ provenance }) => provenance.against],
  [
    "the real images' sha256",
    ({ provenance }) => provenance.checksum.slice(0, 12),
  ],
  ["the extractor", ({ provenance }) => provenance.extractor.name],
  [
    "the extractor's sha256",
    ({ provenance }) => provenance.extractor.sha256.slice(0, 12),
  ],
  ["the resize", ({ provenance }) => provenance.extractor.resize],
  ["k of the nearest neighbours", ({ nearestK }) => nearestK],
  ["the range of bytes", rangeOf],
];

/** The real images' range, or the drawn ones' if it does not fit that. */
function rangeOf({ provenance: { range: { drawn, real } } }: SampleScores) {
  const span = ([low, high]: [number, number]) => high - low;
  const fits = span(drawn) > RANGE_SHARE * span(real);
  const [low, high] = fits ? real : drawn;
  return `${low} to ${high}`;
}

/** How an entry differs from what others were measured against, one sentence for each aspect. */
function differences(entry: Entry, from: Entry): string[] {
  return ASPECTS.flatMap(([name, of]) => {
    const [is, was] = [of(entry.scores), of(from.scores)];
    return is === was ? [] : [`${name} is ${is}, not ${was}`];
  });
}

/**
 * Puts entries into tables whose rows may be compared, that of most rows first.
 *
 * @param apart Whether to make several tables, instead of an error.
 * @throws {UsageError} If they do not fit one table: names what differs, by entry.
 */
export function tablesOf(entries: readonly Entry[], apart: boolean): Table[] {
  const groups = groupBy(
    entries,
    ({ scores }) => JSON.stringify(ASPECTS.map(([, of]) => of(scores))),
  ).sort((a, b) => b.length - a.length);
  const [first] = groups[0]!;
  const tables = groups.map((group) => ({
    rows: groupBy(group, withoutSeed).flatMap(rowsOf),
    reasons: differences(group[0], first),
  }));
  if (tables.length === 1 || apart) return tables;
  const odd = groups.slice(1).flat().map((entry) =>
    `\n  ${entry.label}: ${differences(entry, first).join("; ")}`
  );
  const { count, against } = first.scores.provenance;
  throw new UsageError(
    `Cannot compare all ${entries.length} rows, as scores are comparable only if they are measured alike. ` +
      `${groups[0]!.length} have n = ${count} against ${against}, but${
        odd.join("")
      }\nEvaluate those again in the same way (${commandName()} evaluate), or add --apart to show them in tables of their own`,
  );
}

/** What must be equal for entries to differ only in their seed. */
function withoutSeed({ run, scores }: Entry): string {
  const { provenance } = scores;
  const { seed: _, ...config } = run.config;
  const { method, nfe, guidance, step, ema, options } = provenance;
  const { seed: __, ...others } = options;
  return JSON.stringify([
    [config, run.origin.dataChecksum, step, ema],
    [method, nfe, guidance, others],
  ]);
}

/** One row of all entries, or one of each if the same seeds occur twice. */
function rowsOf(entries: readonly [Entry, ...Entry[]]): Row[] {
  const seeds = new Set(
    entries.map(({ run, scores }) =>
      `${run.config.seed} ${scores.provenance.seed}`
    ),
  );
  return seeds.size === entries.length
    ? [{ entries }]
    : entries.map((entry) => ({ entries: [entry] }));
}

/** Values in groups of equal keys, in the order in which the keys first occur. */
export function groupBy<T>(
  values: readonly T[],
  keyOf: (value: T) => string,
): [T, ...T[]][] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return [...groups.values()];
}
