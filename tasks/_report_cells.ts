/**
 * The table of a report in words: rows with their cells written out, the best of each column marked.
 *
 * @module
 */
import { kebab } from "./_cli.ts";
import type { Estimate } from "./_evaluation.ts";
import { type Column, COLUMNS } from "./_report_columns.ts";
import type { Entry } from "./_report_data.ts";
import type { Row, Table } from "./_report_tables.ts";

/** A number of the table. */
export interface Cell extends Estimate {
  /** The value, written. */
  readonly text: string;
  /** What it may be off by, and what it was measured with. */
  readonly small: readonly string[];
  /** `alike`: its interval overlaps that of the best. */
  readonly mark?: "best" | "alike";
}

/** A row of the table. */
export interface Line {
  /** `seeds`: the mean over entries that differ in seeds, which follow as `seed`. */
  readonly kind: "run" | "seeds" | "seed" | "floor";
  /** Several for `seeds`, none for `floor`. */
  readonly entries: readonly Entry[];
  readonly name: string;
  /** Below the name. */
  readonly small: string;
  /** How images were drawn. */
  readonly method: string;
  /** Below that. */
  readonly methodSmall: string;
}

/** A table, laid out. */
export interface Grid {
  /** Those with a value. */
  readonly columns: readonly Column[];
  readonly lines: readonly Line[];
  /** By column, then by line. */
  readonly cells: readonly (readonly (Cell | undefined)[])[];
  /** Stands before the names of scores. */
  readonly prefix: string;
}

type Estimates = readonly (Estimate | undefined)[];

/** Lays a table out. */
export function layOut({ rows }: Table): Grid {
  const entries = rows.flatMap((row) => row.entries);
  const columns = COLUMNS.filter(({ of }) => entries.some(of));
  const hasFloor = entries.some((entry) =>
    columns.some(({ of }) => of(entry)?.floor !== undefined)
  );
  const lines = [...rows.flatMap(linesOf), ...(hasFloor ? [FLOOR] : [])];
  return {
    columns,
    lines,
    cells: columns.map((column) => cellsOf(column, lines, entries)),
    prefix: entries[0]!.scores.provenance.extractor.prefix,
  };
}

const FLOOR: Line = {
  kind: "floor",
  entries: [],
  name: "Training images",
  small: "the floor",
  method: "",
  methodSmall: "",
};

function linesOf({ entries }: Row): Line[] {
  const [first] = entries;
  if (entries.length === 1) return [lineOf(first, "run", modelOf(first))];
  return [
    {
      ...lineOf(first, "seeds", `mean ± deviation of ${entries.length} seeds`),
      entries,
      name: modelOf(first),
    },
    ...entries.map((entry) => lineOf(entry, "seed", seedOf(entry))),
  ];
}

function lineOf(entry: Entry, kind: Line["kind"], small: string): Line {
  const [method, ...details] = wayOf(entry);
  return {
    kind,
    entries: [entry],
    name: entry.run.name,
    small,
    method,
    methodSmall: details.join(", "),
  };
}

/** What the method's name and the provenance tell already. */
const TOLD = ["sampler", "steps", "latents", "guidance"];

/** How an entry was drawn, the method first. */
export function wayOf(
  { scores: { provenance } }: Entry,
): [method: string, ...details: string[]] {
  const { method, nfe, guidance, options, ema } = provenance;
  const others = Object.entries(options)
    .filter(([name]) => !TOLD.includes(name));
  return [
    method,
    `${nfe} NFE`,
    ...(guidance === undefined ? [] : [`guidance ${guidance}`]),
    ...others.map(([name, value]) => `${kebab(name)} ${value}`),
    ...(ema ? [] : ["no EMA"]),
  ];
}

/** The kind of model: `ddpm`. */
export function modelOf({ run }: Entry): string {
  return run.evaluation.facts?.model ?? String(run.config.model);
}

function seedOf({ run, scores }: Entry): string {
  const { seed } = run.config;
  const { seed: noise } = scores.provenance;
  return seed === noise ? `seed ${seed}` : `seed ${seed}, noise ${noise}`;
}

/** Writes a column. */
function cellsOf(
  column: Column,
  lines: readonly Line[],
  all: readonly Entry[],
): (Cell | undefined)[] {
  const floors = all.flatMap((entry) => column.of(entry)?.floor ?? []);
  const estimates = lines.map(({ kind, entries }) => {
    if (kind === "floor") return plain(floors[0]);
    return kind === "seeds"
      ? meanOf(entries.map(column.of))
      : column.of(entries[0]!);
  });
  const marks = marksOf(column, lines, estimates);
  const digits = digitsOf(column, estimates);
  const { scale = 1 } = column;
  const write = (value: number) =>
    column.write(value * scale, digits).replace("-", "−");
  return estimates.map((estimate, i) => {
    if (!estimate) return undefined;
    const { kind, entries } = lines[i]!;
    const { value, std, interval } = estimate;
    const range = interval
      ? `${write(interval[0])} – ${write(interval[1])}`
      : std === undefined
      ? ""
      : `± ${write(std)}`;
    const note = kind === "run" ? column.note?.(entries[0]!) ?? "" : "";
    const text = kind === "floor" ? span(floors, write) : write(value);
    const small = [range, note.replace("-", "−")].filter((part) => part);
    return { ...estimate, text, small, mark: marks[i] };
  });
}

function plain(value: number | undefined): Estimate | undefined {
  return value === undefined ? undefined : { value };
}

/** Mean and standard deviation of the values that are there. */
function meanOf(estimates: Estimates): Estimate | undefined {
  const values = estimates.flatMap((one) => one ? [one.value] : []);
  if (values.length === 0) return undefined;
  const value = values.reduce((sum, one) => sum + one, 0) / values.length;
  if (values.length === 1) return { value };
  const squares = values.reduce((sum, one) => sum + (one - value) ** 2, 0);
  return { value, std: Math.sqrt(squares / (values.length - 1)) };
}

/** One number, or from which to which the numbers are. */
function span(values: number[], write: (value: number) => string): string {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(write);
  return low === high ? low! : `${low} – ${high}`;
}

/** Digits after the point with which the smallest value of a column has three, at most 3. */
function digitsOf(column: Column, estimates: Estimates): number {
  const sizes = estimates.flatMap((one) =>
    one?.value ? [Math.abs(one.value)] : []
  );
  const least = Math.min(...sizes) * (column.scale ?? 1);
  const wanted = 2 - Math.floor(Math.log10(least));
  return column.digits ?? Math.min(3, Math.max(least < 1000 ? 1 : 0, wanted));
}

/** Marks the best of what competes: runs, and means over seeds. */
function marksOf(
  { better }: Column,
  lines: readonly Line[],
  estimates: Estimates,
): Cell["mark"][] {
  const rivals = estimates.map((estimate, i) =>
    ["run", "seeds"].includes(lines[i]!.kind) ? estimate : undefined
  );
  const values = rivals.flatMap((rival) => rival ? [rival.value] : []);
  if (!better || new Set(values).size < 2) return [];
  const value = better === "lower" ? Math.min(...values) : Math.max(...values);
  const best = rivals.find((rival) => rival?.value === value)!;
  return rivals.map((rival) => {
    if (rival?.value === value) return "best";
    if (!rival?.interval || !best.interval) return undefined;
    const [low, high] = rival.interval;
    const overlaps = low <= best.interval[1] && high >= best.interval[0];
    return overlaps ? "alike" : undefined;
  });
}
