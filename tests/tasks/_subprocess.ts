/**
 * Tasks as a user runs them.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url);
/** A network that trains forty steps in seconds. */
export const TINY = [
  "--set",
  "unet.channels=4",
  "--set",
  "unet.groups=2",
  "--set",
  "unet.dropout=0.1",
  "--set",
  "diffusion.timesteps=20",
  "--set",
  "diffusion.betaEnd=0.5",
  "--set",
  "samples.count=4",
  "--set",
  "samples.steps=2",
  "--set",
  "sampleEvery=0",
  "--set",
  "logEvery=7",
  "--set",
  "checkpointEvery=20",
  "--batch-size",
  "4",
];

/** A task as a user runs it. */
export function task(name: string, args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `tasks/${name}.ts`, ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", INIT_CWD: new URL(".", ROOT).pathname },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a task to its end. */
export async function run(name: string, ...args: string[]) {
  const { code, stdout, stderr } = await task(name, args).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Gives `body` an empty folder. */
export async function inFolder(
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
