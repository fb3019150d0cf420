/**
 * Curves of a run as SVG and PNG. The chart library is loaded when the first
 * curve is drawn.
 *
 * @module
 */
import { loadSharp } from "../datasets/_sharp.ts";
import { outlineText } from "./_outlines.ts";
import {
  type MetricsLine,
  type RunFolder,
  writeAtomic,
} from "./_run_folder.ts";

/** A quantity over training steps. */
export interface Curve {
  /** For the legend, such as `loss`. Curves of one name are one there, such as a solid and a dashed one. */
  readonly name: string;
  readonly steps: readonly number[];
  /** Of the same length; values that are not finite are left out. */
  readonly values: readonly number[];
  /** Default: the next of a palette. */
  readonly color?: string;
  /** Default false. */
  readonly dashed?: boolean;
}

/** How curves are drawn. */
export interface CurvesOptions {
  readonly title?: string;
  /** Default `Training step`. */
  readonly xTitle?: string;
  /** With its unit, such as `Loss (mean squared error)`. */
  readonly yTitle: string;
  /** Logarithmic y; values of 0 and below are left out. Default false. */
  readonly logY?: boolean;
  /**
   * Share of the curve's length that the running mean spans; the raw values
   * stay visible behind it. Default 0.03; 0 draws the raw values only.
   */
  readonly smoothing?: number;
  /** Drawn below, on an axis of its own. */
  readonly learningRate?: Curve;
  /** Where names stand: at the right those of several curves, at the bottom that of a single one too. Default `right`. */
  readonly legend?: "right" | "bottom";
  /** Of the drawing area, in pixels. Default 640. */
  readonly width?: number;
  /** Of the drawing area, in pixels. Default 320. */
  readonly height?: number;
}

/** More points than this per curve are averaged in groups: a plot has ~1000 columns. */
const MAX_POINTS = 1000;

const FONT = "Open Sans, Verdana, Helvetica, Arial, sans-serif";

/**
 * Draws curves.
 *
 * @param curves At least one.
 * @param options Titles with units, axes, smoothing.
 * @returns An SVG document.
 */
export function curvesSvg(
  curves: readonly Curve[],
  options: CurvesOptions,
): Promise<string> {
  const { logY = false, smoothing = 0.03, learningRate } = options;
  const rows = curves.flatMap((curve) => {
    const points = thin(
      pointsOf(curve).filter(([, value]) => !logY || value > 0),
    );
    const mean = runningMean(points, smoothing, logY);
    return points.map(([step, value], i) => ({
      step,
      value,
      mean: mean[i],
      curve: curve.name,
      dashed: curve.dashed ?? false,
    }));
  });
  const { width = 640, height = 320, xTitle = "Training step" } = options;
  const ratePoints = learningRate ? thin(pointsOf(learningRate)) : [];
  const drawsRate = ratePoints.length > 0;
  const x = (isLowest: boolean) => ({
    field: "step",
    type: "quantitative",
    scale: { nice: false },
    axis: {
      title: isLowest ? xTitle : null,
      labels: isLowest,
      format: "~s",
      tickCount: 8,
      tickMinStep: 1,
    },
  });
  const { legend = "right" } = options;
  const colors = new Map(
    curves.map((
      { name, color },
      i,
    ) => [name, color ?? COLORS[i % COLORS.length]!]),
  );
  const color = {
    field: "curve",
    type: "nominal",
    sort: null,
    scale: { domain: [...colors.keys()], range: [...colors.values()] },
    legend: colors.size > 1 || legend === "bottom"
      ? {
        title: null,
        symbolOpacity: 1,
        symbolStrokeWidth: 2,
        ...(legend === "bottom"
          ? { orient: legend, columns: 1, labelLimit: width }
          : {}),
      }
      : null,
  };
  const strokeDash = {
    field: "dashed",
    type: "nominal",
    scale: { domain: [false, true], range: [[1, 0], [4, 3]] },
    legend: null,
  };
  const y = (field: string) => ({
    field,
    type: "quantitative",
    scale: {
      nice: false,
      padding: 8,
      ...(logY ? { type: "log" } : { zero: false }),
    },
    axis: {
      title: options.yTitle,
      ...(logY ? { tickCount: 6, format: "~g" } : {}),
    },
  });
  const line = (field: string, mark: Record<string, unknown>) => ({
    mark: { type: "line", ...mark },
    encoding: { x: x(!drawsRate), y: y(field), color, strokeDash },
  });
  const drawsMean = smoothing > 0 && rows.length > 4;
  const main = {
    width,
    height,
    layer: drawsMean
      ? [
        line("value", { strokeWidth: 1, opacity: 0.3 }),
        line("mean", { strokeWidth: 2 }),
      ]
      : [line("value", { strokeWidth: 1.5, point: rows.length <= 4 })],
  };
  const rate = {
    width,
    height: Math.round(height / 4),
    data: { values: ratePoints.map(([step, value]) => ({ step, value })) },
    mark: { type: "line", strokeWidth: 1.5, color: "#555555" },
    encoding: {
      x: x(true),
      y: {
        field: "value",
        type: "quantitative",
        axis: { title: "Learning rate", tickCount: 3, format: "~g" },
      },
    },
  };
  return chartSvg({
    title: options.title,
    data: { values: rows },
    ...(drawsRate
      ? { vconcat: [main, rate], resolve: { scale: { x: "shared" } } }
      : main),
  });
}

/** Distinct also without colour vision (Okabe & Ito 2008). */
export const COLORS: readonly string[] = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
];

const CONFIG = {
  font: FONT,
  background: "white",
  padding: 12,
  view: { stroke: "#cccccc" },
  title: { fontSize: 14, fontWeight: "normal", anchor: "start", offset: 10 },
  axis: {
    labelFontSize: 11,
    titleFontSize: 12,
    titleFontWeight: "normal",
    titlePadding: 8,
    gridColor: "#eeeeee",
    domainColor: "#888888",
    tickColor: "#888888",
  },
  legend: { labelFontSize: 11 },
};

/**
 * Draws a chart in the style of all.
 *
 * @param spec As Vega-Lite takes it, without `config`.
 * @returns An SVG document.
 */
export async function chartSvg(
  spec: Readonly<Record<string, unknown>>,
): Promise<string> {
  // Computed, so that `deno` fetches the packages only when something is drawn.
  const names = ["npm:vega@6.4.0", "npm:vega-lite@6.5.0"];
  const [vega, vegaLite] = await Promise.all([
    import(names[0]!) as Promise<typeof import("npm:vega@6.4.0")>,
    import(names[1]!) as Promise<typeof import("npm:vega-lite@6.5.0")>,
  ]);
  const compiled = vegaLite.compile(
    { ...spec, config: CONFIG } as Parameters<typeof vegaLite.compile>[0],
  );
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

type Point = readonly [step: number, value: number];

function pointsOf({ steps, values }: Curve): Point[] {
  return steps.map((step, i): Point => [step, values[i]!])
    .filter(([, value]) => Number.isFinite(value));
}

/** Means over groups of neighbours, so that at most MAX_POINTS remain. */
function thin(points: readonly Point[]): readonly Point[] {
  const size = Math.ceil(points.length / MAX_POINTS);
  if (size <= 1) return points;
  const groups: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    const group = points.slice(i, i + size);
    groups.push([
      group.at(-1)![0],
      group.reduce((sum, [, value]) => sum + value, 0) / group.length,
    ]);
  }
  return groups;
}

/**
 * Mean over a window around each point, narrower towards both ends so that it
 * stays centred and a steep beginning keeps its place; of logarithms on a
 * logarithmic axis, as there the eye averages those.
 */
function runningMean(
  points: readonly Point[],
  share: number,
  isLog: boolean,
): number[] {
  const reach = Math.round(share * points.length / 2);
  const sums = [0]; // sums[i]: of the first i values
  for (const [, value] of points) {
    sums.push(sums.at(-1)! + (isLog ? Math.log(value) : value));
  }
  return points.map((_, i) => {
    const near = Math.min(reach, i, points.length - 1 - i);
    const mean = (sums[i + near + 1]! - sums[i - near]!) / (2 * near + 1);
    return isLog ? Math.exp(mean) : mean;
  });
}

/**
 * Draws an SVG document as PNG, with the same letters on every machine.
 *
 * @param svg The document, its text as `outlineText` takes it.
 * @param scale PNG pixels per SVG pixel. Default 2.
 * @returns The bytes of the file.
 */
export async function svgToPng(svg: string, scale = 2): Promise<Uint8Array> {
  const [sharp, drawing] = await Promise.all([loadSharp(), outlineText(svg)]);
  return await sharp(new TextEncoder().encode(drawing), { density: 72 * scale })
    .png({ compressionLevel: 9 }).toBuffer();
}

/**
 * A column of a run's log as a curve.
 *
 * @param lines As from `RunFolder.readMetrics`; those without the key are skipped.
 * @param key Such as `loss`.
 * @param name For the legend, defaults to the key.
 */
export function curveOf(
  lines: readonly MetricsLine[],
  key: string,
  name: string = key,
): Curve {
  const rows = lines.filter((line) => typeof line[key] === "number");
  return {
    name,
    steps: rows.map((line) => line.step),
    values: rows.map((line) => line[key] as number),
  };
}

/** A picture of a run's log. */
export interface Chart {
  /** Of the files, without extension. */
  readonly file: string;
  /** Of the axis, with its unit. */
  readonly yTitle: string;
  /** Keys of the log, and their names in the legend. */
  readonly curves: Readonly<Record<string, string>>;
  /** Logarithmic y. Default false. */
  readonly logY?: boolean;
}

/**
 * Writes a chart of a run's log as SVG and PNG, atomically.
 *
 * @param run The run.
 * @returns Whether the log holds anything to draw.
 */
export async function saveChart(
  run: RunFolder,
  chart: Chart,
): Promise<boolean> {
  const { file, curves, ...options } = chart;
  const lines = await run.readMetrics();
  const drawn = Object.entries(curves)
    .map(([key, name]) => curveOf(lines, key, name))
    .filter(({ steps }) => steps.length > 0);
  if (drawn.length === 0) return false;
  const names = drawn.map(({ name }) => name).join(", ");
  const svg = await curvesSvg(drawn, {
    ...options,
    title: `${run.name}: ${names}`,
  });
  await writeAtomic(run.file(`${file}.svg`), svg);
  await writeAtomic(run.file(`${file}.png`), await svgToPng(svg));
  return true;
}
