/**
 * Charts of how often each class is drawn.
 *
 * @module
 */
import { chartSvg } from "./_plots.ts";
import type { Entry } from "./_report_data.ts";
import { type Colors, type Figure, fileOf, SIZE } from "./_report_figures.ts";

/** Shares of classes in the drawn images as bars, and in the real ones as ticks; of entries that have such. */
export async function classFigures(
  entries: readonly Entry[],
  colors: Colors,
): Promise<Figure[]> {
  const known = entries.flatMap(({ run, label, scores: { id, classes } }) =>
    classes ? [{ run, label, id, classes }] : []
  );
  const shares = (counts: readonly number[]) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    return counts.map((count) => count / total);
  };
  const top = Math.max(
    ...known.flatMap(({ classes }) => [
      ...shares(classes.counts),
      ...shares(classes.realCounts),
    ]),
  );
  return await Promise.all(known.map(async ({ run, label, id, classes }) => {
    const real = shares(classes.realCounts);
    const y = (field: string) => ({
      field,
      type: "quantitative",
      scale: { domain: [0, top], nice: true },
      axis: { title: "Share of images", format: "%", tickCount: 4 },
    });
    const x = {
      field: "name",
      type: "nominal",
      sort: null,
      axis: { title: null, labelAngle: isLong(classes.names) ? -40 : 0 },
    };
    return {
      file: fileOf("classes", run.name, id),
      title: label,
      caption: `Total variation ${classes.totalVariation.toFixed(3)}, entropy ${
        classes.entropy.toFixed(2)
      } nats`,
      svg: await chartSvg({
        width: SIZE.width,
        height: 130,
        data: {
          values: shares(classes.counts).map((drawn, i) => ({
            name: classes.names[i],
            drawn,
            real: real[i],
          })),
        },
        layer: [
          {
            mark: { type: "bar", color: colors.get(run) },
            encoding: { x, y: y("drawn") },
          },
          {
            mark: { type: "tick", color: "#333333", thickness: 2 },
            encoding: { x, y: y("real") },
          },
        ],
      }),
    };
  }));
}

function isLong(names: readonly string[]): boolean {
  return names.join("").length > 36;
}
