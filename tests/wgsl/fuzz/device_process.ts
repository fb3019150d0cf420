/**
 * Programs on WebGPU in a process of their own, as drivers may crash on what they are given: some
 * programs do that to the compiler of Mesa's software driver.
 *
 * As a script it reads a seed per line, and answers each with a line of JSON: the first difference,
 * or null. Its first line tells whether there is an adapter.
 *
 * @module
 */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { expected, firstDifference } from "./compare.ts";
import { openDevice, runOnDevice } from "./device.ts";
import { generate } from "./generate.ts";

/** What came of a program: null if all is the same. */
export type Answer = { readonly difference: string } | "crashed" | null;

/** The other process, started anew after a crash. */
export class DeviceProcess {
  #child: Deno.ChildProcess | null = null;
  #lines: AsyncIterator<string> | null = null;

  /** Starts it; false if there is no adapter. */
  async start(): Promise<boolean> {
    const child = this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-read",
        "--allow-env=DENO_WEBGPU_BACKEND",
        import.meta.url,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = linesOf(child.stdout);
    return JSON.parse(await this.#line() ?? "false");
  }

  /** Compares the program of a seed. */
  async ask(seed: number): Promise<Answer> {
    if (!this.#child) await this.start();
    const writer = this.#child!.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${seed}\n`));
    writer.releaseLock();
    const line = await this.#line();
    if (line !== null) {
      const difference = JSON.parse(line);
      return difference === null ? null : { difference };
    }
    await this.#child!.status;
    this.#child = null;
    return "crashed";
  }

  /** Ends it. */
  async close(): Promise<void> {
    await this.#child?.stdin.close();
    await this.#child?.status;
  }

  async #line(): Promise<string | null> {
    const { done, value } = await this.#lines!.next();
    return done ? null : value;
  }
}

function linesOf(stream: ReadableStream<Uint8Array>): AsyncIterator<string> {
  const input = Readable.fromWeb(
    stream as Parameters<typeof Readable.fromWeb>[0],
  );
  return createInterface({ input })[Symbol.asyncIterator]();
}

if (import.meta.main) {
  const device = await openDevice();
  console.log(JSON.stringify(device !== null));
  const seeds = linesOf(Deno.stdin.readable);
  for (let next; device && !(next = await seeds.next()).done;) {
    const program = generate(Number(next.value), { portable: true });
    const [got] = await runOnDevice(device, [program]);
    console.log(
      JSON.stringify(firstDifference(got!, expected(program)!) ?? null),
    );
  }
  Deno.exit(0);
}
