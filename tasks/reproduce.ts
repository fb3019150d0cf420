/**
 * `deno task reproduce EXPERIMENT`: trains every model of a published comparison, evaluates all of them
 * in one way, and prints the table beside what was published.
 *
 * @module
 */
import { DEVICES } from "../tensor/device_choice.ts";
import {
  commandName,
  defineCommand,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { parseDuration } from "./_experiment_plan.ts";
import {
  measuredOf,
  reportOf,
  toMarkdown,
  toText,
} from "./_experiment_report.ts";
import { EXPERIMENTS } from "./_experiments.ts";
import { Reproduction } from "./_reproduction.ts";
import { writeAtomic } from "./_run_folder.ts";
import { Subtasks } from "./_subtask.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable, terminalWidth } from "./_text.ts";

/** What `deno task reproduce` accepts. */
export const command = defineCommand({
  ...taskInfo("reproduce"),
  positionals: [{
    name: "experiment",
    description: "What to run",
    choices: Object.keys(EXPERIMENTS),
    optional: true,
  }],
  flags: {
    list: { type: "boolean", description: "List the experiments" },
    models: {
      type: "list",
      description:
        "Models to train, by the names of their runs, such as gan,vae (default: all)",
    },
    budget: {
      type: "string",
      placeholder: "TIME",
      description:
        "Time of training in all, such as 10m or 1h30m, shared by the runs (default: as long as the publication)",
    },
    asPublished: {
      type: "boolean",
      description: "Train and draw with the defects of the publication",
    },
    count: {
      type: "integer",
      min: 6,
      description:
        "Images drawn for each row (default: as published, or as many as a budget allows)",
    },
    samplingSteps: {
      type: "integer",
      min: 1,
      description:
        "Steps of DDIM for diffusion (default: 50; with --as-published, all timesteps of DDPM)",
    },
    features: {
      type: "string",
      description: "As of evaluate (default: by data set)",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      description: "Where all of it goes (default: runs/reproduce-EXPERIMENT)",
    },
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description: "A folder that holds the data set's files",
    },
    device: {
      type: "string",
      choices: DEVICES,
      description:
        "Where to compute; auto takes a GPU if there is one (default: $DENOISE_DEVICE, else auto)",
    },
  },
  notes:
    "The same command goes on where it was stopped. What is trained stays; other --count, --sampling-steps or --features evaluate anew. Under a budget each run gets an equal share, as steps that are timed beforehand, and never more than published; schedules fit the steps. Compiling, drawing and evaluating are not in the budget.",
});

type Flags = Parsed<typeof command.flags>["flags"];

async function open(
  name: string,
  flags: Flags,
  say: (text: string) => void,
): Promise<Reproduction> {
  const { asPublished = false, count, samplingSteps, features } = flags;
  const { models, budget, dataDir, out } = flags;
  const folder = `runs/reproduce-${name}${asPublished ? "-as-published" : ""}`;
  return await Reproduction.open({
    name,
    out: userPath(out ?? folder),
    budget: budget === undefined
      ? undefined
      : parseDuration("--budget", budget),
    asPublished,
    models,
    count,
    samplingSteps,
    features,
    dataDir: dataDir === undefined ? undefined : userPath(dataDir),
    say,
  });
}

/** Writes and prints the table. */
async function conclude(it: Reproduction, json: boolean): Promise<void> {
  const findings = it.findings();
  const report = reportOf(findings);
  await writeAtomic(it.file("reproduce.md"), toMarkdown(report));
  if (json) {
    const { name, experiment, measured } = findings;
    const rows = experiment.rows.map((row) => ({
      name: row.name,
      run: it.file("runs", row.run),
      published: row.published,
      invalid: row.invalid,
      measured: measuredOf(measured[row.name]!),
    }));
    console.log(
      JSON.stringify({ experiment: name, out: it.file(), rows, ...report }),
    );
    return;
  }
  console.log(toText(report, terminalWidth("stdout")));
  console.error(`\nWrote ${it.file("reproduce.md")} and ${it.file("report")}`);
}

/** Prints what there is. */
function list(json: boolean): void {
  const all = Object.entries(EXPERIMENTS);
  if (json) console.log(JSON.stringify(EXPERIMENTS));
  else {
    console.log(formatTable([
      ["Experiment", "What", "Models"],
      ...all.map(([name, { runs, title }]) => [
        name,
        title,
        Object.keys(runs).join(","),
      ]),
    ]));
  }
}

/**
 * Runs an experiment, or goes on with it.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals: [name], flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  if (flags.list) return list(json);
  if (name === undefined) {
    throw new UsageError(
      `Missing <experiment>: one of ${Object.keys(EXPERIMENTS).join(", ")}`,
    );
  }
  const say = (text: string) => json ? undefined : console.error(text);
  const it = await open(name, flags, say);
  using tasks = new Subtasks({
    quiet: json,
    device: flags.device,
    again: [commandName(), "reproduce", ...Deno.args].join(" "),
  });
  await it.plan(tasks);
  say(it.describePlan());
  await it.train(tasks);
  await it.evaluate(tasks);
  await it.compare(tasks);
  await conclude(it, json);
}

if (import.meta.main) await runTask(command, main);
