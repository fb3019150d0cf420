/**
 * `deno task sample RUN`: draws images from a trained run.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { resolveClasses } from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import {
  asUsage,
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  userPath,
} from "./_cli.ts";
import { inTurn } from "./_generator.ts";
import { generatorFlags, openGenerator } from "./_generators.ts";
import { saveGrid, saveImages } from "./_images.ts";
import { Progress } from "./_progress.ts";
import { RunFolder } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task sample` accepts. */
export const command = defineCommand({
  ...taskInfo("sample"),
  positionals: [{
    name: "run",
    description: "A run folder, or a checkpoint in one",
  }],
  flags: {
    ...deviceFlag,
    ...generatorFlags,
    grid: {
      type: "string",
      placeholder: "FILE",
      description:
        "Write one picture of all images (default: samples/grid-SEED.png in the run)",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      description: "Write every image as a PNG of its own",
    },
  },
  notes:
    "What the model is comes from the checkpoint; no flag of the training is needed again.",
});

/**
 * Draws and writes the images.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, given, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const path = userPath(positionals[0]!);
  const say = (text: string) => json ? undefined : console.error(text);
  const run = await RunFolder.open(path);
  const checkpoint = await checkpointOf(run, path, say);
  const generator = await openGenerator(
    { run, checkpoint, say, quiet: json },
    flags,
    given,
  );
  const { step, method, summary, columns } = generator;
  const { channels, height, width, classNames } = generator.shape;
  const { count, seed, first } = flags;
  const wanted = flags.class
    ? await asUsage(() => resolveClasses(classNames, flags.class!, run.name))
    : classNames.map((_, id) => id);
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  using progress = new Progress({
    label: `Sampling ${count} images by ${method} at step ${step}`,
    total: generator.steps(count),
    quiet: json,
  });
  const bytes = await generator.generate({
    count,
    seed,
    first,
    classes: generator.knowsClasses
      ? inTurn(count, wanted, { first, row: flags.interpolate })
      : undefined,
    isCancelled: () => interrupted,
    onStep: (done) => progress.update(done),
  });
  if (!bytes) throw new Error("Interrupted: nothing was written");
  progress.finish();
  const layout = { count, channels, height, width };
  const written: string[] = [];
  if (flags.out !== undefined) {
    const folder = userPath(flags.out);
    await Deno.mkdir(folder, { recursive: true });
    await saveImages(folder, bytes, { ...layout, first });
    written.push(folder);
  }
  if (flags.grid !== undefined || flags.out === undefined) {
    if (flags.grid === undefined) {
      await Deno.mkdir(run.file("samples"), { recursive: true });
    }
    const file = flags.grid === undefined
      ? run.file("samples", `grid-${seed}.png`)
      : userPath(flags.grid);
    await saveGrid(file, bytes, { ...layout, columns });
    written.push(file);
  }
  if (json) {
    console.log(
      JSON.stringify({
        run: run.path,
        step,
        count,
        seed,
        ...summary,
        written,
      }),
    );
  }
  for (const file of written) say(`Wrote ${file}`);
}

if (import.meta.main) await runTask(command, main);
