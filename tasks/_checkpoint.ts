/**
 * The checkpoint of a run that a task is to use.
 *
 * @module
 */
import { UsageError } from "./_cli.ts";
import type { RunFolder } from "./_run_folder.ts";

/**
 * Reads the checkpoint that a path names, or the latest of the run.
 *
 * @param path Of the run, or of a checkpoint in it.
 * @param say Told of files that are skipped.
 * @throws {UsageError} If the run has none.
 */
export async function checkpointOf(
  run: RunFolder,
  path: string,
  say: (text: string) => void,
): Promise<{ path: string; bytes: Uint8Array<ArrayBuffer> }> {
  const checkpoint = path.endsWith(".safetensors")
    ? { path }
    : await run.latestCheckpoint((message) => say(`warning: ${message}`));
  if (!checkpoint) {
    throw new UsageError(
      `Cannot use ${run.path} as the run has no checkpoint yet`,
    );
  }
  return {
    path: checkpoint.path,
    bytes: await Deno.readFile(checkpoint.path),
  };
}
