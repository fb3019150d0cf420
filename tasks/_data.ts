/**
 * The data of a run.
 *
 * @module
 */
import {
  type Dataset,
  type DatasetName,
  loadDataset,
  type Split,
} from "../mod.ts";
import { asUsage, userPath } from "./_cli.ts";
import { Progress } from "./_progress.ts";
import type { TrainingConfig } from "./_training_config.ts";

/**
 * Loads what a configuration names, and shows how far a download is.
 *
 * @param flags `dataDir` as on the command line.
 * @param quiet Shows nothing.
 * @throws {UsageError} If data set or classes are unknown.
 */
export async function loadData(
  config: Pick<TrainingConfig, "dataset" | "classes" | "imageSize">,
  split: Split,
  flags: { readonly dataDir?: string },
  quiet: boolean,
): Promise<Dataset> {
  let progress: Progress | undefined;
  let file = "";
  const dataset = await asUsage(() =>
    loadDataset(config.dataset as DatasetName, {
      split,
      classes: config.classes.length > 0 ? config.classes : undefined,
      size: config.imageSize,
      dataDir: flags.dataDir === undefined
        ? undefined
        : userPath(flags.dataDir),
      onProgress(done, total, name) {
        if (name !== file) {
          progress?.finish();
          progress = new Progress({
            label: `Loading ${name}`,
            total,
            unit: "bytes",
            quiet,
          });
          file = name;
        }
        progress!.update(done);
      },
    })
  );
  progress?.finish();
  return dataset;
}
