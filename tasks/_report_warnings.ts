/**
 * What a reader of a report should know before trusting its numbers.
 *
 * @module
 */
import { type DiffusionOptions, GaussianDiffusion } from "../mod.ts";
import type { Entry, ReportRun } from "./_report_data.ts";
import { groupBy, type Table } from "./_report_tables.ts";

/** Share of near copies from which on they are no accident, where 5 % is as expected. */
const MANY_COPIES = 0.1;
/** Share of test images below which an extractor's word on classes is doubtful. */
const POOR_ACCURACY = 0.95;

/** Sentences, the graver first. */
export function warningsOf(
  runs: readonly ReportRun[],
  tables: readonly Table[],
): string[] {
  return [
    ...tables.flatMap((table) => {
      const entries = table.rows.flatMap((row) => row.entries);
      return [
        ...fewImages(entries[0]!),
        ...poorExtractor(entries),
        ...differentSeeds(entries),
        ...entries.flatMap(suspicious),
      ];
    }),
    ...schedules(runs),
    ...runs.flatMap(cutShort),
    ...differentDevices(runs),
  ];
}

function fewImages({ scores: { provenance } }: Entry): string[] {
  const { count, against, extractor: { name, dimensions } } = provenance;
  return count >= dimensions ? [] : [
    `Against ${against}, ${count} images are fewer than the ${dimensions} dimensions of ${name}'s features: the Fréchet distance is far above what more images would give. Compare it with the floor and at this n alone; KID has no such bias.`,
  ];
}

function poorExtractor(entries: readonly Entry[]): string[] {
  const { name, accuracy } = entries[0]!.scores.provenance.extractor;
  const isUsed = entries.some(({ scores }) => scores.classes);
  return !isUsed || accuracy === undefined || accuracy >= POOR_ACCURACY ? [] : [
    `${name} finds the class of only ${
      percent(accuracy)
    } of test images: shares of classes are off by as much.`,
  ];
}

function differentSeeds(entries: readonly Entry[]): string[] {
  const seeds = new Set(entries.map(({ scores }) => scores.provenance.seed));
  return seeds.size === 1 ? [] : [
    `Images were drawn from different seeds (${
      [...seeds].sort().join(", ")
    }), so grids do not start from equal noise.`,
  ];
}

function suspicious({ label, scores }: Entry): string[] {
  const { value, interval, floor } = scores.frechet;
  const most = interval?.[1] ?? value;
  const { share } = scores.memorization;
  return [
    ...(floor !== undefined && most < floor
      ? [
        `${label} is nearer to the real images than training images are: honest samples cannot be, so look for copies.`,
      ]
      : []),
    ...(share > MANY_COPIES
      ? [
        `${
          percent(share)
        } of the images of ${label} are nearer to a training image than the nearest 5 % of test images are: some may be memorised.`,
      ]
      : []),
  ];
}

/** Runs of one schedule share a warning. */
function schedules(runs: readonly ReportRun[]): string[] {
  const warned = runs.flatMap((run) => {
    const warning = scheduleWarning(run);
    return warning === undefined ? [] : [{ name: run.name, warning }];
  });
  return groupBy(warned, ({ warning }) => warning).map((group) =>
    `${group.map(({ name }) => name).join(", ")}: ${group[0].warning}.`
  );
}

function scheduleWarning({ config }: ReportRun): string | undefined {
  const { diffusion, loss } = config as {
    diffusion?: DiffusionOptions;
    loss?: { type?: string };
  };
  if (!diffusion || loss?.type === "edm") return undefined;
  return new GaussianDiffusion(diffusion).report().warning;
}

function cutShort({ name, config, evaluation }: ReportRun): string[] {
  const step = Math.max(
    ...evaluation.samples!.map(({ provenance }) => provenance.step),
  );
  return typeof config.steps !== "number" || step >= config.steps ? [] : [
    `${name} was evaluated at step ${step} of ${config.steps} that were configured.`,
  ];
}

function differentDevices(runs: readonly ReportRun[]): string[] {
  const devices = {
    Training: runs.map(({ origin }) => origin.adapter),
    Drawing: runs.flatMap(({ evaluation }) =>
      evaluation.samples!.map(({ provenance }) => provenance.device)
    ),
  };
  return Object.entries(devices).flatMap(([what, names]) => {
    const distinct = new Set(names.filter((name) => name !== undefined));
    return distinct.size <= 1 ? [] : [
      `${what} was timed on different devices, whose times do not compare: ${
        [...distinct].join("; ")
      }.`,
    ];
  });
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
