/**
 * Other tasks in processes of their own, so that each has a device and memory for itself and gives
 * them back.
 *
 * @module
 */
import config from "../deno.json" with { type: "json" };
import { onInterrupt } from "./_cli.ts";
import type { TaskName } from "./_tasks.ts";

/** The checkout. */
const ROOT = new URL("../", import.meta.url);

/** How tasks are run. */
export interface SubtaskOptions {
  /** Whether what goes on is not shown; errors are. */
  readonly quiet: boolean;
  /** As of `--device`. */
  readonly device?: string;
  /** The command that goes on after an interruption, for messages. */
  readonly again: string;
}

/** Runs tasks one after another; Ctrl-C reaches the one that runs, which saves what it did. */
export class Subtasks implements Disposable {
  readonly #options: SubtaskOptions;
  readonly #listener: Disposable;
  #child: Deno.ChildProcess | undefined;
  #interrupted = false;

  /** Listens for Ctrl-C from now on. */
  constructor(options: SubtaskOptions) {
    this.#options = options;
    this.#listener = onInterrupt(() => {
      this.#interrupted = true;
      // On Windows a console's Ctrl-C reaches all of its processes.
      if (Deno.build.os !== "windows") this.#child?.kill("SIGINT");
    });
  }

  /** Runs a task to its end; its progress goes to standard error, its result nowhere. */
  async run(name: TaskName, args: readonly string[]): Promise<void> {
    await this.#run(wordsOf(name), [
      ...args,
      ...this.#options.quiet ? ["--json"] : [],
    ]);
  }

  /**
   * Runs another module under the permissions of a task.
   *
   * @param file In `tasks/`.
   * @returns What it printed, from JSON.
   */
  async ask(name: TaskName, file: string, argument: unknown): Promise<unknown> {
    const words = wordsOf(name).with(-1, `tasks/${file}`);
    return JSON.parse(await this.#run(words, [JSON.stringify(argument)]));
  }

  /** Stops to listen for Ctrl-C. */
  [Symbol.dispose](): void {
    this.#listener[Symbol.dispose]();
  }

  async #run(
    words: readonly string[],
    args: readonly string[],
  ): Promise<string> {
    const { device, again } = this.#options;
    const stopped = () => new Error(`Interrupted. To go on: ${again}`);
    if (this.#interrupted) throw stopped();
    this.#child = new Deno.Command("deno", {
      args: [...words, ...args],
      cwd: ROOT,
      env: device === undefined ? {} : { DENOISE_DEVICE: device },
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const { code, stdout } = await this.#child.output();
    this.#child = undefined;
    if (this.#interrupted) throw stopped();
    if (code !== 0) {
      throw new Error(
        `${
          words.at(-1)
        } failed with exit code ${code}. What is done is kept; to go on: ${again}`,
      );
    }
    return new TextDecoder().decode(stdout);
  }
}

/** The command line of a task behind `deno`: its permissions and its file. */
function wordsOf(name: TaskName): string[] {
  return (config.tasks as Record<string, string>)[name]!.split(" ").slice(1);
}
