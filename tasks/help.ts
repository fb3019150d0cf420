/**
 * `deno task help [task]`: the list of tasks, or one task with its examples.
 *
 * @module
 */
import {
  commandName,
  defineCommand,
  type Parsed,
  runTask,
  unknownValue,
  UsageError,
} from "./_cli.ts";
import { type TaskInfo, taskInfo, TASKS } from "./_tasks.ts";
import { formatTable } from "./_text.ts";

/** What `deno task help` accepts. */
export const command = defineCommand({
  ...taskInfo("help"),
  positionals: [{
    name: "task",
    description: "The task to show; default: all of them",
    optional: true,
  }],
  flags: {},
});

/**
 * Prints the list of tasks, or one of them.
 *
 * @param parsed Its positional names a task.
 * @throws {UsageError} If there is no such task, naming the nearest.
 */
export function main({ positionals, json }: Parsed): void {
  const [name] = positionals;
  const tasks: readonly TaskInfo[] = TASKS;
  const task = tasks.find((task) => task.name === name);
  if (name !== undefined && task === undefined) {
    throw new UsageError(
      unknownValue("task", name, tasks.map(({ name }) => name)),
    );
  }
  if (json) console.log(JSON.stringify(task ?? tasks));
  else console.log(task === undefined ? formatList(tasks) : formatOne(task));
}

function formatList(tasks: readonly TaskInfo[]): string {
  const rows = tasks.map(({ name, summary }) => [name, summary]);
  return `Usage: ${commandName()} <task> [arguments]

Tasks:
${formatTable(rows, { indent: 2 })}

${commandName()} <task> --help lists the arguments and flags of a task.
A GPU computes if there is one, else the CPU on all cores. --device or DENOISE_DEVICE (webgpu,
cpu) asks for one of them, DENOISE_THREADS for a number of cores.`;
}

function formatOne({ name, summary, examples }: TaskInfo): string {
  return `${name}: ${summary}

Examples:
${
    examples.map((line) => `  ${line.replace(/^deno task/, commandName())}`)
      .join(
        "\n",
      )
  }

${commandName()} ${name} --help lists its arguments and flags.`;
}

if (import.meta.main) await runTask(command, main);
