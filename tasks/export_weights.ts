/**
 * `deno task export-weights RUN FILE`: the weights of a run alone, and where they are from.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { saveSafetensors } from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { loadClassifier } from "./_classifier.ts";
import { defineCommand, type Parsed, runTask, userPath } from "./_cli.ts";
import { RunFolder, writeAtomic } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes } from "./_text.ts";
import { readCheckpoint, weightsOf } from "./_trainer.ts";

/** What `deno task export-weights` accepts. */
export const command = defineCommand({
  ...taskInfo("export-weights"),
  positionals: [
    { name: "run", description: "Run folder, or a checkpoint in it" },
    { name: "file", description: "Safetensors file to write" },
  ],
  flags: {
    ...deviceFlag,
    ema: {
      type: "boolean",
      default: true,
      description: "Take the last weights, not their moving average",
    },
  },
  notes:
    "The file's metadata has the configuration, the shape of the data, the checksum of the training data and, of a classifier, its test accuracy. It does not depend on when and where the run was made.",
});

/**
 * Exports the weights.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  const [from, to] = positionals.map(userPath) as [string, string];
  const run = await RunFolder.open(from);
  const { path, bytes } = await checkpointOf(run, from, console.error);
  const checkpoint = readCheckpoint(bytes, path);
  const { model, step, config, shape } = checkpoint;
  const { dataChecksum } = (await run.readConfig()).run;
  const metadata: Record<string, string> = {
    model,
    step: String(step),
    config: JSON.stringify(config),
    shape: JSON.stringify(shape),
  };
  if (typeof dataChecksum === "string") metadata.trainChecksum = dataChecksum;
  if (model === "classifier") {
    const found = loadClassifier(bytes, path, flags.ema).model.summary();
    for (const name of ["accuracy", "testChecksum"]) {
      if (name in found) metadata[name] = String(found[name]);
    }
  }
  const file = await saveSafetensors(
    weightsOf(checkpoint, flags.ema),
    metadata,
  );
  await writeAtomic(to, file);
  if (json) console.log(JSON.stringify({ file: to, ...metadata }));
  else console.error(`${to}: ${formatBytes(file.length)}`);
}

if (import.meta.main) await runTask(command, main);
