/**
 * An experiment that is run in stages, each of which is skipped where it is done: what `reproduce`
 * stops in, the same command goes on with.
 *
 * ```
 * OUT/reproduce.json     what is planned and done
 *   runs/<run>/          as of `train`
 *   report/              as of `compare`
 *   reproduce.md         the table
 * ```
 *
 * @module
 */
import { loadDataset, parseSelector } from "../datasets/load.ts";
import { commandName, unknownValue, UsageError } from "./_cli.ts";
import { readEvaluation } from "./_evaluation.ts";
import {
  countOf,
  drawnFor,
  drawOf,
  drawSeconds,
  judgingOf,
  settingsOf,
  stepsOf,
} from "./_experiment_plan.ts";
import {
  againstOf,
  type Findings,
  type Measured,
} from "./_experiment_report.ts";
import {
  type Experiment,
  EXPERIMENTS,
  type Row,
  withRuns,
} from "./_experiments.ts";
import { join } from "./_path.ts";
import { RunFolder, writeAtomic } from "./_run_folder.ts";
import type { StepTime, StepTimeOptions } from "./_step_time.ts";
import type { Subtasks } from "./_subtask.ts";
import { formatDuration, formatTable } from "./_text.ts";

/** What is asked for. */
export interface ReproductionOptions {
  /** Of the experiment. */
  readonly name: string;
  /** Absolute path. */
  readonly out: string;
  /** Seconds of training in all; default: as long as the presets say. */
  readonly budget?: number;
  readonly asPublished: boolean;
  /** Keys of the experiment's runs. Default: all. */
  readonly models?: readonly string[];
  /** Images of each row. Default: see `countOf`. */
  readonly count?: number;
  /** Of DDIM. Default: see `drawOf`. */
  readonly samplingSteps?: number;
  /** As of `evaluate`. */
  readonly features?: string;
  /** Absolute path. */
  readonly dataDir?: string;
  /** Prints a line for people. */
  readonly say: (text: string) => void;
}

/** A run, planned. */
interface RunState {
  readonly steps: number;
  /** As of `train --set`. */
  readonly settings: readonly string[];
  /** Whether it is trained. */
  done: boolean;
}

/** A row that was evaluated. */
interface RowState extends Omit<Measured, "publishedImages"> {
  /** Of `evaluate`. */
  readonly args: readonly string[];
}

/** `reproduce.json`. */
interface State {
  readonly experiment: string;
  readonly models?: readonly string[];
  readonly budget?: number;
  readonly asPublished: boolean;
  /** By run. */
  times: Record<string, StepTime>;
  /** Empty before all are timed. */
  runs: Record<string, RunState>;
  rows: Record<string, RowState>;
  /** All arguments of the rows that the report is of. */
  compared?: string;
}

/** Real images to compare with. */
interface RealImages {
  /** Of the split and classes that have fewest. */
  readonly count: number;
  /** What the copies lack. */
  readonly warnings: readonly string[];
}

/** What runs other tasks. */
type Tasks = Pick<Subtasks, "run" | "ask">;

/** An experiment under way. */
export class Reproduction {
  readonly experiment: Experiment;
  readonly #options: ReproductionOptions;
  readonly #real: RealImages;
  readonly #state: State;

  private constructor(
    experiment: Experiment,
    options: ReproductionOptions,
    real: RealImages,
    state: State,
  ) {
    this.experiment = experiment;
    this.#options = options;
    this.#real = real;
    this.#state = state;
  }

  /**
   * Begins, or takes over what the folder says.
   *
   * @throws {UsageError} If it is of another experiment, budget or kind of preset, or there are none as published.
   * @throws {Error} If images are missing, with the command that gets them.
   */
  static async open(options: ReproductionOptions): Promise<Reproduction> {
    const { name, out, models, budget, asPublished, say } = options;
    const whole = EXPERIMENTS[name]!;
    const unknown = models?.find((model) => !(model in whole.runs));
    if (unknown !== undefined) {
      throw new UsageError(
        unknownValue("model", unknown, Object.keys(whole.runs)),
      );
    }
    const experiment = models ? withRuns(whole, models) : whole;
    if (asPublished && !experiment.asPublished) {
      throw new UsageError(
        `Cannot run ${name} with --as-published as there are no presets with defects of a publication`,
      );
    }
    const state: State = {
      experiment: name,
      models,
      budget,
      asPublished,
      times: {},
      runs: {},
      rows: {},
    };
    const before = await readState(join(out, "reproduce.json"));
    if (before && describe(before) !== describe(state)) {
      throw new UsageError(
        `Cannot go on in ${out} as it was begun as ${
          describe(before)
        }, and this is ${describe(state)}: choose another folder with --out`,
      );
    }
    const real = await realImages(experiment, options.dataDir);
    for (const warning of real.warnings) say(`warning: ${warning}`);
    if ((options.count ?? 0) > real.count) {
      throw new UsageError(
        `--count must be at most the ${real.count} real images there are to compare with: given ${options.count}`,
      );
    }
    await Deno.mkdir(out, { recursive: true });
    if (before) say(`Going on in ${out}`);
    return new Reproduction(experiment, options, real, before ?? state);
  }

  /** A path in its folder. */
  file(...parts: string[]): string {
    return join(this.#options.out, ...parts);
  }

  /** Images of each row; known once it is planned. */
  get count(): number {
    return this.#options.count ?? countOf(
      this.experiment,
      this.#real.count,
      this.#drawSeconds(),
      this.#state.budget,
    );
  }

  /** Times the steps of every run and decides how many each takes; later starts keep to it. */
  async plan(tasks: Tasks): Promise<void> {
    const { experiment } = this;
    const { budget = Infinity, dataDir, say } = this.#options;
    const { times, runs } = this.#state;
    if (Object.keys(runs).length > 0) return;
    const plans = Object.entries(experiment.runs);
    for (const [name, { model, settings = [] }] of plans) {
      if (times[name]) continue;
      say(`Timing steps of ${name} …`);
      const asked: StepTimeOptions = {
        model,
        preset: this.#presetOf(name),
        settings,
        dataDir,
        seconds: Math.min(3, budget / plans.length / 10),
      };
      times[name] = await tasks.ask(
        "train",
        "_step_time.ts",
        asked,
      ) as StepTime;
      await this.#save();
    }
    const steps = stepsOf(
      plans.map(([name, plan]) => ({ plan, time: times[name]! })),
      this.#state.budget,
    );
    for (const [i, [name, plan]] of plans.entries()) {
      const settings = settingsOf(experiment, plan, times[name]!, steps[i]!);
      runs[name] = { steps: steps[i]!, settings, done: false };
    }
    await this.#save();
  }

  /** What is planned, for people. */
  describePlan(): string {
    const { count, experiment: { rows } } = this;
    const { times, runs } = this.#state;
    const table = formatTable([
      ["Run", "Preset", "Steps", "Of the preset", "About"],
      ...Object.entries(runs).map(([name, { steps }]) => [
        name,
        this.#presetOf(name),
        steps.toLocaleString("en"),
        `${Number((100 * steps / times[name]!.steps).toPrecision(2))} %`,
        formatDuration(steps * times[name]!.secondsPerStep),
      ]),
    ], { right: [2, 3, 4] });
    return `${table}\n${
      count.toLocaleString("en")
    } images for each of ${rows.length} rows: about ${
      formatDuration(drawnFor(count) * this.#drawSeconds())
    }`;
  }

  /** Trains what is not trained yet. */
  async train(tasks: Tasks): Promise<void> {
    for (const [name, run] of Object.entries(this.#state.runs)) {
      if (run.done) continue;
      const folder = this.file("runs", name);
      const isBegun = await RunFolder.open(folder).then(
        () => true,
        () => false,
      );
      const how = isBegun ? ["--resume", folder] : [
        "--preset",
        this.#presetOf(name),
        ...run.settings.flatMap((setting) => ["--set", setting]),
        "--out",
        folder,
      ];
      const { model } = this.experiment.runs[name]!;
      await tasks.run("train", [model, ...how, ...this.#dataFlags()]);
      run.done = true;
      await this.#save();
    }
  }

  /** Evaluates what is not evaluated yet, or was with other flags. */
  async evaluate(tasks: Tasks): Promise<void> {
    const { experiment, count } = this;
    const { features } = this.#options;
    for (const row of experiment.rows) {
      const args = [
        this.file("runs", row.run),
        "--count",
        String(count),
        ...this.#drawOf(row),
        ...judgingOf(experiment, count, this.#state.budget !== undefined),
        ...(features === undefined ? [] : ["--features", features]),
        ...this.#dataFlags(),
      ];
      const before = this.#state.rows[row.name]?.args;
      if (before?.join("\n") === args.join("\n")) continue;
      await tasks.run("evaluate", args);
      const run = await RunFolder.open(this.file("runs", row.run));
      const { samples, facts, likelihood } = await readEvaluation(run);
      this.#state.rows[row.name] = {
        args,
        scores: samples!.at(-1)!, // the last evaluated is the last
        facts,
        bounds: { train: likelihood?.train, test: likelihood?.test },
      };
      await this.#save();
    }
  }

  /** Makes the report of all runs, unless it is of what they are. */
  async compare(tasks: Tasks): Promise<void> {
    const of = Object.values(this.#state.rows).flatMap(({ args }) => args)
      .join(" ");
    if (this.#state.compared === of) return;
    const runs = Object.keys(this.experiment.runs)
      .map((run) => this.file("runs", run));
    await tasks.run("compare", [
      ...runs,
      "--out",
      this.file("report"),
      "--title",
      this.experiment.title,
      "--apart", // rows of other classes, or evaluated before with other flags
    ]);
    this.#state.compared = of;
    await this.#save();
  }

  /** What was found, once all rows are evaluated. */
  findings(): Findings {
    const { experiment, count } = this;
    const { name } = this.#options;
    const { times, rows, asPublished, budget } = this.#state;
    const measured = Object.fromEntries(experiment.rows.map((row) => {
      const { steps, batchSize } = times[row.run]!;
      const found = rows[row.name]!;
      return [row.name, { ...found, publishedImages: steps * batchSize }];
    }));
    const { extractor, device } = Object.values(measured)[0]!.scores.provenance;
    const how = [
      asPublished
        ? "presets as published"
        : experiment.asPublished
        ? "corrected presets"
        : "presets",
      budget === undefined
        ? "trained for as long as these say"
        : `${formatDuration(budget)} of training in all`,
      `${count.toLocaleString("en")} images of each row and as many real ones`,
      `features of ${extractor.name} (sha256 ${extractor.sha256.slice(0, 8)}…)`,
      device,
    ];
    return {
      name,
      experiment,
      measured,
      setup: [`Measured here: ${how.join("; ")}`],
      notes: [
        ...this.#real.warnings,
        ...(budget !== undefined && experiment.asPublished
          ? [
            "What is measured here is of shorter trainings than published, by the shares below: no verdict on the publication.",
          ]
          : []),
        ...(count <= extractor.dimensions
          ? [
            `${count} images are no more than the ${extractor.dimensions} features: compare Fréchet distances with their floor alone.`,
          ]
          : []),
      ],
    };
  }

  #save(): Promise<void> {
    return writeAtomic(
      this.file("reproduce.json"),
      `${JSON.stringify(this.#state, null, 2)}\n`,
    );
  }

  #presetOf(run: string): string {
    const { preset } = this.experiment.runs[run]!;
    return this.#state.asPublished ? `${preset}-as-published` : preset;
  }

  #drawOf(row: Row): string[] {
    const { asPublished, samplingSteps } = this.#options;
    return drawOf(row, this.#state.times[row.run]!, {
      asPublished,
      samplingSteps,
    });
  }

  /** Of an image of each row. */
  #drawSeconds(): number {
    return drawSeconds(
      this.experiment.rows.map((row) => ({
        draw: this.#drawOf(row),
        time: this.#state.times[row.run]!,
      })),
    );
  }

  #dataFlags(): string[] {
    const { dataDir } = this.#options;
    return dataDir === undefined ? [] : ["--data-dir", dataDir];
  }
}

async function readState(path: string): Promise<State | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read ${path}: ${error.message}`, {
      cause: error,
    });
  }
}

/** What must stay as it is when a folder is gone on in. */
function describe(
  { experiment, models, budget, asPublished }: State,
): string {
  return [
    experiment,
    ...(models ? [`--models ${models.join(",")}`] : []),
    ...(asPublished ? ["--as-published"] : []),
    budget === undefined ? "without --budget" : `with --budget ${budget}s`,
  ].join(" ");
}

/** Looks for the images of all rows, and downloads none. */
async function realImages(
  experiment: Experiment,
  dataDir: string | undefined,
): Promise<RealImages> {
  const counts: number[] = [];
  const warnings = new Set<string>();
  const selectors = experiment.rows.map((row) => againstOf(experiment, row));
  for (const selector of new Set(selectors)) {
    const { name, classes } = parseSelector(selector);
    for (const split of ["train", "test"] as const) {
      const options = { split, classes, dataDir, download: false };
      const dataset = await loadDataset(name, options).catch((error) => {
        if (!(error.cause instanceof Deno.errors.NotFound)) throw error;
        throw new Error(
          `${error.message}. Or: ${commandName()} datasets get ${name}`,
          { cause: error },
        );
      });
      counts.push(dataset.length);
      for (const warning of dataset.warnings) {
        warnings.add(`The copy of ${dataset.title} is not whole: ${warning}`);
      }
    }
  }
  return { count: Math.min(...counts), warnings: [...warnings] };
}
