/**
 * Charts of scores over evaluations of the network and over guidance, of runs that were drawn from so.
 *
 * @module
 */
import type { Estimate, SampleScores } from "./_evaluation.ts";
import { chartSvg } from "./_plots.ts";
import type { Entry } from "./_report_data.ts";
import { type Colors, type Figure, SIZE } from "./_report_figures.ts";
import { groupBy } from "./_report_tables.ts";

/** A point of a sweep. */
interface SweepPoint extends Estimate {
  readonly x: number;
  readonly series: string;
  readonly color: string;
}

/** Entries of a run that differ only in the evaluations of the network, or only in guidance. */
export async function sweepFigures(
  entries: readonly Entry[],
  colors: Colors,
): Promise<Figure[]> {
  const { prefix } = entries[0]!.scores.provenance.extractor;
  const frechet = ({ frechet }: SampleScores) => frechet;
  const byNfe = sweeps(
    entries,
    ({ provenance }) => provenance.nfe,
    ["steps"],
    (entry) => ({ guidance: entry.scores.provenance.guidance }),
  );
  const byGuidance = sweeps(
    entries,
    ({ provenance }) => provenance.guidance ?? 1,
    ["guidance"],
  );
  const pointsOf = (
    sweep: Sweep,
    of: (scores: SampleScores) => Estimate,
    name = "",
  ): SweepPoint[] =>
    sweep.entries.map(({ run, scores }) => ({
      ...of(scores),
      x: sweep.x(scores),
      series: [
        `${run.name}, ${scores.provenance.method}`,
        ...(name ? [name] : []),
      ].join(", "),
      color: colors.get(run)!,
    }));
  const figures: Figure[] = [];
  if (byNfe.length > 0) {
    figures.push({
      file: "frechet-by-nfe",
      title: `${prefix}FID by evaluations`,
      caption: "Bars hold 95 % of bootstrap samples.",
      svg: await sweepSvg(byNfe.flatMap((sweep) => pointsOf(sweep, frechet)), {
        xTitle: "Evaluations of the network (NFE)",
        yTitle: `${prefix}FID`,
        logX: true,
      }),
    });
  }
  if (byGuidance.length > 0) {
    const xTitle = "Strength of guidance";
    figures.push({
      file: "frechet-by-guidance",
      title: `${prefix}FID by guidance`,
      caption: "Bars hold 95 % of bootstrap samples.",
      svg: await sweepSvg(
        byGuidance.flatMap((sweep) => pointsOf(sweep, frechet)),
        { xTitle, yTitle: `${prefix}FID` },
      ),
    }, {
      file: "precision-recall-by-guidance",
      title: "Precision and recall by guidance",
      svg: await sweepSvg(
        byGuidance.flatMap((sweep) => [
          ...pointsOf(sweep, ({ precision }) => precision, "precision"),
          ...pointsOf(sweep, ({ recall }) => recall, "recall"),
        ]),
        { xTitle, yTitle: "Precision, recall" },
      ),
    });
  }
  return figures;
}

/** Entries of one run, and what differs between them. */
interface Sweep {
  readonly entries: readonly Entry[];
  readonly x: (scores: SampleScores) => number;
}

function sweeps(
  entries: readonly Entry[],
  x: Sweep["x"],
  free: readonly string[],
  also: (entry: Entry) => unknown = () => undefined,
): Sweep[] {
  return groupBy(entries, (entry) => {
    const { method, options, ema, seed } = entry.scores.provenance;
    const fixed = Object.entries(options)
      .filter(([name]) => !free.includes(name)).sort();
    return JSON.stringify(
      [entry.run.name, method, ema, seed, fixed, also(entry)],
    );
  }).map((group) => group.toSorted((a, b) => x(a.scores) - x(b.scores))).filter(
    (group) => new Set(group.map(({ scores }) => x(scores))).size > 1,
  )
    .map((group) => ({ entries: group, x }));
}

function sweepSvg(
  points: readonly SweepPoint[],
  options: { xTitle: string; yTitle: string; logX?: boolean },
): Promise<string> {
  const names = [...new Set(points.map(({ series }) => series))];
  const colorOf = (name: string) =>
    points.find(({ series }) => series === name)!.color;
  const byName = (range: readonly unknown[]) => ({
    field: "series",
    type: "nominal",
    scale: { domain: names, range },
    legend: {
      title: null,
      orient: "bottom",
      columns: 1,
      labelLimit: SIZE.width,
    },
  });
  const encoding = {
    x: {
      field: "x",
      type: "quantitative",
      scale: options.logX
        ? { type: "log", nice: false, padding: 12 }
        : { zero: false, padding: 12 },
      axis: {
        title: options.xTitle,
        format: "~g",
        values: [...new Set(points.map(({ x }) => x))],
        labelOverlap: true,
      },
    },
    color: byName(names.map(colorOf)),
  };
  const y = {
    field: "value",
    type: "quantitative",
    scale: { zero: false, padding: 12 },
    axis: { title: options.yTitle, tickCount: 5 },
  };
  // Series of one run have one colour; shapes tell them apart.
  const shape = byName(
    names.map((_, i) => ["circle", "square", "diamond", "triangle-up"][i % 4]),
  );
  return chartSvg({
    ...SIZE,
    data: {
      values: points.map(({ interval, ...point }) => ({
        ...point,
        low: interval?.[0] ?? point.value,
        high: interval?.[1] ?? point.value,
      })),
    },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 1.5 },
        encoding: {
          ...encoding,
          y: { ...y, field: "low" },
          y2: { field: "high" },
        },
      },
      {
        mark: { type: "line", strokeWidth: 1.5 },
        encoding: { ...encoding, y },
      },
      {
        mark: { type: "point", filled: true, size: 50, opacity: 1 },
        encoding: { ...encoding, y, shape },
      },
    ],
  });
}
