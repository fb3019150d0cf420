/**
 * `evaluation.json` of a run: what metrics found, each under a key of its own.
 *
 * @module
 */
import { type RunFolder, writeAtomic } from "./_run_folder.ts";

/**
 * Writes what a metric found, in place of what it found before; other keys stay.
 *
 * @param found By the key of the metric.
 * @throws {SyntaxError} If the file is there but does not parse.
 */
export async function mergeEvaluation(
  run: RunFolder,
  found: Readonly<Record<string, unknown>>,
): Promise<void> {
  const path = run.file("evaluation.json");
  const before = await readEvaluation(path);
  const text = JSON.stringify({ ...before, ...found }, null, 2)
    // Lists of numbers on one line.
    .replace(/\[\s+[^[\]{}"]*\]/g, (list) => list.replace(/\s+/g, " "));
  await writeAtomic(path, `${text}\n`);
}

async function readEvaluation(path: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(
      `Cannot read ${path}: ${error.message}. Delete it, and it is written anew`,
      { cause: error },
    );
  }
}
