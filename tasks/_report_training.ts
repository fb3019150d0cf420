/**
 * Charts of what the logs of runs say: bounds and losses, over steps and over seconds.
 *
 * @module
 */
import { type Curve, curvesSvg } from "./_plots.ts";
import type { ReportRun } from "./_report_data.ts";
import { type Colors, type Figure, fileOf, SIZE } from "./_report_figures.ts";
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

const SPLITS = "Solid: test images; dashed: training images.";

/** Charts of bounds and losses, each over steps and over seconds. */
export async function trainingFigures(
  runs: readonly ReportRun[],
  colors: Colors,
): Promise<Figure[]> {
  const figures = await overTraining(
    runs.filter(boundsCompare),
    {
      file: "bits-per-dim",
      title: "Likelihood bound",
      yTitle: "Bits/dim",
      caption: SPLITS,
      keys: ["bits_per_dim_test", "bits_per_dim_train"],
    },
    colors,
    0,
  );
  for (const alike of groupBy(runs, kindOf)) {
    const kind = kindOf(alike[0]);
    const isGan = alike.some(({ metrics }) =>
      metrics.some((line) => "generator_loss" in line)
    );
    figures.push(
      ...await overTraining(
        alike,
        {
          file: fileOf("elbo", kind),
          title: `ELBO, ${kind}`,
          yTitle: "ELBO (nats/image)",
          caption: SPLITS,
          keys: ["elbo_test", "elbo_train"],
        },
        colors,
        0,
      ),
      ...await overTraining(alike, {
        file: fileOf("loss", kind),
        title: `Training loss, ${kind}`,
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

/** What runs must have in common for their losses to compare: `vae bernoulli`. */
function kindOf({ config }: ReportRun): string {
  const { model, likelihood, loss } = config as {
    model: string;
    likelihood?: { type: string };
    loss?: { type: string };
  };
  return [model, likelihood?.type ?? loss?.type].filter(Boolean).join(" ");
}

/** Whether the likelihood of a run is of 8-bit images, so that bits/dim compare. */
function boundsCompare({ evaluation: { likelihood } }: ReportRun): boolean {
  return likelihood?.test?.comparable !== false;
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
  const bySeconds = over((_, seconds) => seconds);
  const [unit, length] = unitOf(
    Math.max(...bySeconds.map(({ steps }) => steps.at(-1)!)),
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
