/**
 * Charts of what the logs of runs say: bounds and losses, over steps and over seconds.
 *
 * @module
 */
import { type Curve, curvesSvg } from "./_plots.ts";
import type { ReportRun } from "./_report_data.ts";
import { type Colors, type Figure, SIZE } from "./_report_figures.ts";
import { groupBy } from "./_report_tables.ts";
import type { MetricsLine } from "./_run_folder.ts";

/** What a chart over training shows. */
interface Quantity {
  readonly file: string;
  readonly title: string;
  readonly yTitle: string;
  readonly caption?: string;
  /** Columns of the log: the first is a solid curve, the other a dashed one. */
  readonly keys: readonly string[];
}

const BOUNDS: readonly Quantity[] = [
  {
    file: "bits-per-dim",
    title: "Likelihood bound",
    yTitle: "Bits/dim",
    caption: "Solid: test images; dashed: training images.",
    keys: ["bits_per_dim_test", "bits_per_dim_train"],
  },
  {
    file: "elbo",
    title: "ELBO",
    yTitle: "ELBO (nats/image)",
    caption:
      "Solid: test images; dashed: training images. Bounds of likelihoods of different kinds do not compare.",
    keys: ["elbo_test", "elbo_train"],
  },
];

/** Charts of bounds and losses, each over steps and over seconds. */
export async function trainingFigures(
  runs: readonly ReportRun[],
  colors: Colors,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const quantity of BOUNDS) {
    figures.push(...await overTraining(runs, quantity, colors, 0));
  }
  for (const alike of groupBy(runs, (run) => String(run.config.model))) {
    const { model } = alike[0].config;
    const isGan = alike.some(({ metrics }) =>
      metrics.some((line) => "generator_loss" in line)
    );
    figures.push(
      ...await overTraining(alike, {
        file: `loss-${model}`,
        title: `Training loss, ${model}`,
        yTitle: "Loss",
        ...(isGan
          ? {
            caption: "Solid: generator; dashed: discriminator.",
            keys: ["generator_loss", "discriminator_loss"],
          }
          : { keys: ["loss"] }),
      }, colors),
    );
  }
  return figures;
}

async function overTraining(
  runs: readonly ReportRun[],
  { file, title, yTitle, caption, keys }: Quantity,
  colors: Colors,
  smoothing?: number,
): Promise<Figure[]> {
  const over = (xOf: (line: MetricsLine, seconds: number) => number) =>
    runs.flatMap((run) => {
      const seconds = secondsOf(run);
      return keys.flatMap((key, i): Curve[] => {
        const at = run.metrics.flatMap((line, l) =>
          typeof line[key] === "number" ? [l] : []
        );
        if (at.length === 0) return [];
        return [{
          name: run.name,
          steps: at.map((l) => xOf(run.metrics[l]!, seconds[l]!)),
          values: at.map((l) => run.metrics[l]![key] as number),
          color: colors.get(run)!,
          dashed: i > 0,
        }];
      });
    });
  const bySteps = over(({ step }) => step);
  if (bySteps.length === 0) return [];
  const options = {
    ...SIZE,
    yTitle,
    smoothing,
    logY: spansDecade(bySteps),
    legend: "bottom" as const,
  };
  const [unit, length] = unitOf(
    Math.max(...over((_, seconds) => seconds).flatMap(({ steps }) => steps)),
  );
  return [
    {
      file: `${file}-steps`,
      title: `${title} by step`,
      caption,
      svg: await curvesSvg(bySteps, options),
    },
    {
      file: `${file}-seconds`,
      title: `${title} by time`,
      caption,
      svg: await curvesSvg(over((_, seconds) => seconds / length), {
        ...options,
        xTitle: `Training time (${unit})`,
      }),
    },
  ];
}

/** The unit that suits a duration, and its seconds. */
function unitOf(seconds: number): [unit: string, length: number] {
  if (seconds <= 300) return ["s", 1];
  return seconds <= 3 * 3600 ? ["min", 60] : ["h", 3600];
}

/** Whether a logarithmic axis suits values: all positive, and 10 times apart. */
function spansDecade(curves: readonly Curve[]): boolean {
  const values = curves.flatMap((curve) => curve.values);
  const least = values.reduce((a, b) => Math.min(a, b));
  return least > 0 && values.reduce((a, b) => Math.max(a, b)) > 10 * least;
}

/** Seconds of training at each line of a run's log, by the speeds that it tells. */
export function secondsOf(
  { metrics, config }: Pick<ReportRun, "metrics" | "config">,
): number[] {
  let step = 0, seconds = 0, perStep = 0;
  return metrics.map((line) => {
    const { images_per_second: rate } = line;
    if (typeof rate === "number" && rate > 0) {
      perStep = Number(config.batchSize) / rate;
    }
    seconds += (line.step - step) * perStep;
    step = line.step;
    return seconds;
  });
}
