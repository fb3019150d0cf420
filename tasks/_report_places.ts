/**
 * Features of drawn and real images in a plane: t-SNE, fitted once to all of them, so that the charts of a
 * table can be compared.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type Points, tsne } from "../mod.ts";
import { Progress } from "./_progress.ts";
import { type Entry, featuresOf, readOptional } from "./_report_data.ts";
import { type Colors, type Figure, fileOf } from "./_report_figures.ts";
import { writeAtomic } from "./_run_folder.ts";

/** Most points of one entry, and of all together, as the time grows with the square of their number. */
const POINTS = { each: 500, all: 1500 };
/** Steps of t-SNE. */
const ITERATIONS = 1000;
/** Of a chart, in pixels. */
const SIDE = 340;

/**
 * Charts of the entries of a table whose features were kept: real ones grey, drawn ones in colour.
 *
 * @param cache A file that keeps the places; what does not fit is computed.
 */
export async function placesFigures(
  entries: readonly Entry[],
  colors: Colors,
  cache: string,
  quiet: boolean,
): Promise<Figure[]> {
  const known = [];
  for (const entry of entries) {
    const features = await featuresOf(entry);
    if (features) known.push({ entry, ...features });
  }
  if (known.length === 0) return [];
  const sets = [known[0]!.real, ...known.map(({ drawn }) => drawn)];
  const most = Math.min(POINTS.each, Math.floor(POINTS.all / sets.length));
  const dimensions = sets[0]!.shape[1]!;
  const parts = sets.map(({ data, shape }) =>
    (data as Float32Array).subarray(
      0,
      Math.min(most, shape[0]!) * dimensions,
    )
  );
  const counts = parts.map(({ length }) => length / dimensions);
  const count = counts.reduce((sum, n) => sum + n, 0);
  const data = new Float32Array(count * dimensions);
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  const places = await fit({ data, shape: [count, dimensions] }, cache, quiet);
  const scaled = intoSquare(places);
  const real = scaled.slice(0, counts[0]!);
  let from = counts[0]!;
  return known.map(({ entry: { run, label, scores } }, i) => {
    const drawn = scaled.slice(from, from += counts[i + 1]!);
    return {
      file: fileOf("tsne", run.name, scores.id),
      title: label,
      svg: scatterSvg([
        { points: real, color: "#808080", opacity: 0.6 },
        { points: drawn, color: colors.get(run)!, opacity: 0.85 },
      ]),
    };
  });
}

/** The places of points, from the cache if it holds those of the same points. */
async function fit(
  points: Points<Float32Array<ArrayBuffer>>,
  cache: string,
  quiet: boolean,
): Promise<number[]> {
  const key = createHash("sha256").update(points.data)
    .update(`${points.shape} ${ITERATIONS}`).digest("hex");
  const bytes = await readOptional(cache);
  const kept = bytes && parseCache(bytes);
  if (kept?.key === key) return kept.places;
  using progress = new Progress({
    label: `t-SNE of ${points.shape[0]} features`,
    total: ITERATIONS,
    unit: "steps",
    quiet,
  });
  const found = await tsne(points, {
    iterations: ITERATIONS,
    onStep: (done) => progress.update(done),
  });
  progress.finish();
  const places = Array.from(found, (place) => Number(place.toPrecision(6)));
  await writeAtomic(cache, JSON.stringify({ key, places }));
  return places;
}

function parseCache(
  bytes: Uint8Array,
): { key: string; places: number[] } | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined; // cut off: computed anew
  }
}

type Place = readonly [x: number, y: number];

/** Pairs of numbers, moved and scaled to fill the chart. */
function intoSquare(numbers: readonly number[]): Place[] {
  const xs = numbers.filter((_, i) => i % 2 === 0);
  const ys = numbers.filter((_, i) => i % 2 === 1);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const margin = 8;
  const scale = (SIDE - 2 * margin) / Math.max(right - left, high - low);
  const centre = (value: number, from: number, to: number) =>
    SIDE / 2 + scale * (value - (from + to) / 2);
  return xs.map((x, i) => [centre(x, left, right), centre(ys[i]!, low, high)]);
}

/** Each set of points is one path of dots, as thousands of circles would make the page slow. */
function scatterSvg(
  sets: readonly { points: Place[]; color: string; opacity: number }[],
): string {
  const paths = sets.map(({ points, color, opacity }) => {
    const dots = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`);
    return `<path d="${
      dots.join("")
    }" fill="none" stroke="${color}" stroke-opacity="${opacity}" stroke-width="4" stroke-linecap="round"/>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="marks" width="${SIDE}" height="${SIDE}" viewBox="0 0 ${SIDE} ${SIDE}">`,
    `<rect class="frame" width="${SIDE}" height="${SIDE}" fill="white" stroke="#cccccc"/>`,
    ...paths,
    "</svg>\n",
  ].join("\n");
}
