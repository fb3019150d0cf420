/**
 * What a report is made of: runs with their evaluations and pictures, read from their folders.
 *
 * @module
 */
import { type HostTensor, parseSafetensors } from "../mod.ts";
import { commandName, UsageError } from "./_cli.ts";
import {
  type Evaluation,
  readEvaluation,
  type SampleScores,
} from "./_evaluation.ts";
import { basename, dirname } from "./_path.ts";
import { type MetricsLine, RunFolder } from "./_run_folder.ts";

/** A run with what is known of it. */
export interface ReportRun {
  /** The folder's name, with as many of its parents as tell it from the others. */
  readonly name: string;
  readonly folder: RunFolder;
  /** `config.yaml`, unchecked. */
  readonly config: Readonly<Record<string, unknown>>;
  /** How it came about. */
  readonly origin: Readonly<Record<string, unknown>>;
  /** Its log. */
  readonly metrics: readonly MetricsLine[];
  readonly evaluation: Evaluation;
}

/** One way of drawing from a run: a row of the table. */
export interface Entry {
  readonly run: ReportRun;
  readonly scores: SampleScores;
  /** Names it among all entries. */
  readonly label: string;
}

/**
 * Reads runs.
 *
 * @param paths Their folders; what is named twice counts once.
 * @throws {UsageError} If there is no run, or some were not evaluated: names the command for all of those.
 */
export async function readRuns(
  paths: readonly string[],
): Promise<ReportRun[]> {
  const folders = new Map<string, RunFolder>();
  for (const path of paths) {
    const folder = await RunFolder.open(path);
    folders.set(await Deno.realPath(folder.path), folder);
  }
  const names = shortNames([...folders.keys()]);
  const runs: ReportRun[] = [];
  for (const folder of folders.values()) {
    const { config, run: origin } = await folder.readConfig();
    runs.push({
      name: names[runs.length]!,
      folder,
      config,
      origin,
      metrics: await folder.readMetrics(),
      evaluation: await readEvaluation(folder),
    });
  }
  const bare = runs.filter(({ evaluation }) => !evaluation.samples?.length)
    .map(({ folder }) => folder.path);
  if (bare.length === 0) return runs;
  const which = bare.length === 1 ? bare[0] : `${bare.length} of the runs`;
  throw new UsageError(
    `Cannot compare as no images of ${which} were evaluated: run ${commandName()} evaluate ${
      bare.map(quoteArgument).join(" ")
    }`,
  );
}

/** As a shell takes it. */
function quoteArgument(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text)
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The ends of paths, as short as tells them apart. */
function shortNames(paths: readonly string[]): string[] {
  return paths.map((path) => {
    let name = basename(path), parent = dirname(path);
    const others = paths.filter((other) => other !== path);
    while (others.some((other) => other.endsWith(`/${name}`))) {
      name = `${basename(parent)}/${name}`;
      parent = dirname(parent);
    }
    return name;
  });
}

/** All entries of runs, in their order. */
export function entriesOf(runs: readonly ReportRun[]): Entry[] {
  return runs.flatMap((run) => {
    const samples = run.evaluation.samples!;
    return samples.map((scores) => ({
      run,
      scores,
      label: samples.length === 1 ? run.name : `${run.name} ${scores.id}`,
    }));
  });
}

/** A picture of a run. */
export interface Picture {
  /** For people. */
  readonly title: string;
  /** A PNG file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * The images that an entry drew first, or real ones it was compared with, as a PNG file; undefined if they
 * were not kept.
 */
export async function gridOf(
  { run, scores }: Entry,
  which: "drawn" | "real",
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const name = { drawn: "grid.png", real: "real.png" }[which];
  return await readOptional(run.folder.file("evaluations", scores.id, name));
}

/** Features of drawn and of real images, some of each: `[N, D]`. */
export interface FeatureSample {
  readonly drawn: HostTensor;
  readonly real: HostTensor;
}

/** Features that were kept of an entry; undefined if they were not. */
export async function featuresOf(
  { run, scores }: Entry,
): Promise<FeatureSample | undefined> {
  const bytes = await readOptional(
    run.folder.file("evaluations", scores.id, "features.safetensors"),
  );
  if (!bytes) return undefined;
  const { drawn, real } = parseSafetensors(bytes).tensors;
  return drawn && real && { drawn, real };
}

/** Figures that training or sampling left in the folder, by file. */
const FIGURES: readonly (readonly [file: RegExp, title: string])[] = [
  [/^reconstructions$/, "Images above their reconstructions"],
  [/^latents$/, "Latents of training images"],
  [/^latents-gmm$/, "Latents and the mixture's components"],
  [/^manifold$/, "Images by their latents"],
  [/^manifold-\d+$/, "Images by their latents, of one class"],
  [/^likelihood-terms$/, "Bits/dim by timestep"],
];

/** Most figures of one kind. */
const FIGURES_OF_KIND = 4;

/** Figures of a run: reconstructions, latents, terms of the bound. */
export async function figuresOf({ folder }: ReportRun): Promise<Picture[]> {
  const files: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder.path)) {
    if (isFile && name.endsWith(".png")) files.push(name.slice(0, -4));
  }
  const found = FIGURES.flatMap(([pattern, title]) =>
    files.filter((name) => pattern.test(name)).sort()
      .slice(0, FIGURES_OF_KIND).map((name) => ({ name, title }))
  );
  return await Promise.all(
    found.map(async ({ name, title }) => ({
      title,
      bytes: await Deno.readFile(folder.file(`${name}.png`)),
    })),
  );
}

/** The bytes of a file; undefined if there is none. */
export async function readOptional(
  path: string,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
