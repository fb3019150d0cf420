/**
 * Figures of a variational autoencoder in its run folder, as SVG and PNG: reconstructions, and where
 * there are two latents, how images lie in their plane and what each place in it stands for.
 *
 * @module
 */
import { ClassMixtures, type Dataset, type Ellipse, tensor } from "../mod.ts";
import { spread } from "./_autoencoder.ts";
import {
  defaultScale,
  encodePng,
  type GridOptions,
  gridPixels,
} from "./_images.ts";
import { chartSvg, svgToPng } from "./_plots.ts";
import { type RunFolder, writeAtomic } from "./_run_folder.ts";
import type { VaeModel } from "./_vae.ts";
import { type Latents, latentsOf, type Mixtures } from "./_vae_mixtures.ts";

/** Images in a row of the reconstructions. */
const COLUMNS = 8;
/** Images that are reconstructed. */
const RECONSTRUCTED = 32;
/** Points of a scatter: more hide each other. */
const POINTS = 5000;
/** Share of a component's points inside its ellipse. */
const SHARE = 0.95;
/** Corners that an ellipse is drawn with. */
const CORNERS = 64;
/** Latents of the uniform grid reach so far from 0. */
const REACH = 3;
/** Pixels around every image. */
const PADDING = 2;
/** Of a drawing area, in pixels. */
const SIDE = 480;

/** Writes a figure twice. */
async function save(run: RunFolder, name: string, svg: string, scale = 2) {
  await writeAtomic(run.file(`${name}.svg`), svg);
  await writeAtomic(run.file(`${name}.png`), await svgToPng(svg, scale));
}

/** A grid of images as an element of an SVG document, and its size. */
async function imageElement(
  bytes: Uint8Array,
  options: GridOptions,
  at: { x: number; y: number },
): Promise<{ element: string; width: number; height: number }> {
  const pixels = gridPixels(bytes, options);
  const { width, height } = pixels;
  const url = `data:image/png;base64,${(await encodePng(pixels)).toBase64()}`;
  const element =
    `<image x="${at.x}" y="${at.y}" width="${width}" height="${height}" href="${url}"/>`;
  return { element, width, height };
}

function svgOf(width: number, height: number, elements: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...elements,
    "</svg>\n",
  ].join("\n");
}

function text(x: number, y: number, words: string, anchor = "middle"): string {
  return `<text transform="translate(${x},${y})" text-anchor="${anchor}" font-family="sans-serif" font-size="12px" fill="black">${words}</text>`;
}

/** Draws images above what the model makes of them. */
async function saveReconstructions(
  run: RunFolder,
  model: VaeModel,
  dataset: Dataset,
): Promise<void> {
  const { channels, height, width } = dataset;
  const [batch] = spread(dataset, RECONSTRUCTED);
  const { images, labels } = batch!;
  const bytes = await model.reconstruct(images, labels, COLUMNS);
  const grid = await imageElement(
    bytes,
    { channels, height, width, columns: COLUMNS },
    { x: 8, y: 28 },
  );
  const svg = svgOf(grid.width + 16, grid.height + 36, [
    text(8, 19, "Images above their reconstructions", "start"),
    grid.element,
  ]);
  await save(run, "reconstructions", svg, 1);
}

/** Φ(x) by Marsaglia 2004, "Evaluating the normal distribution", §2: 1/2 + φ(x) (x + x³/3 + x⁵/15 + …). */
function cumulative(x: number): number {
  let term = x, sum = x;
  for (let odd = 3; Math.abs(term) > 1e-12; odd += 2) {
    term *= x * x / odd;
    sum += term;
  }
  return 0.5 + sum * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
}

/** The x with Φ(x) = share, by halves. */
function quantile(share: number): number {
  let low = -6, high = 6;
  while (high - low > 1e-9) {
    const middle = (low + high) / 2;
    if (cumulative(middle) < share) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * Values of a latent along a side of the grid, ascending: the middles of equal shares of the prior's
 * mass, or even steps from -3 to 3.
 */
export function gridOfLatents(
  { grid, size }: VaeModel["config"]["manifold"],
): number[] {
  return Array.from(
    { length: size },
    (_, i) =>
      grid === "normal"
        ? quantile((i + 0.5) / size)
        : REACH * (2 * i / (size - 1) - 1),
  );
}

/** Draws what places in the plane of latents stand for, the second latent upwards; of one class. */
async function saveManifold(
  run: RunFolder,
  model: VaeModel,
  name: string,
  y: number,
): Promise<void> {
  const values = gridOfLatents(model.config.manifold);
  const size = values.length;
  const { channels, height, width } = model.shape;
  const pixels = channels * height * width;
  const bytes = new Uint8Array(size * size * pixels);
  for (let row = 0; row < size; row++) {
    const z = values.flatMap((value) => [value, values[size - 1 - row]!]);
    const images = await model.decode(
      tensor(new Float32Array(z), [size, 2]),
      new Int32Array(size).fill(y),
    );
    bytes.set(images, row * size * pixels);
  }
  const scale = Math.min(
    defaultScale(height, width),
    Math.max(1, Math.round(SIDE / (size * width))),
  );
  const [left, top] = [68, 28];
  const grid = await imageElement(
    bytes,
    { channels, height, width, columns: size, padding: PADDING, scale },
    { x: left, y: top },
  );
  const bottom = top + grid.height;
  const shown = [
    ...new Set([0, size >> 2, size >> 1, size * 3 >> 2, size - 1]),
  ];
  const ticks = shown.flatMap((i) => {
    const label = values[i]!.toFixed(2).replace("-", "−");
    const place = (i + 0.5) / size;
    const across = left + PADDING / 2 + place * (grid.width - PADDING);
    const up = bottom - PADDING / 2 - place * (grid.height - PADDING);
    return [
      text(across, bottom + 16, label),
      text(left - 6, up + 4, label, "end"),
    ];
  });
  const title = model.config.conditional
    ? `Images by latents, class ${model.shape.classNames[y]}`
    : "Images by latents";
  const svg = svgOf(left + grid.width + 24, bottom + 40, [
    text(left, 19, escapeText(title), "start"),
    grid.element,
    ...ticks,
    text(left + grid.width / 2, bottom + 34, "First latent"),
    `<g transform="translate(16,${top + grid.height / 2}) rotate(-90)">${
      text(0, 0, "Second latent")
    }</g>`,
  ]);
  await save(run, name, svg, 1);
}

function escapeText(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

/** Corners of an ellipse, the first also at the end. */
function outline({ centre, radii, angle }: Ellipse): [number, number][] {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return Array.from({ length: CORNERS + 1 }, (_, i) => {
    const turn = 2 * Math.PI * i / CORNERS;
    const [a, b] = [radii[0] * Math.cos(turn), radii[1] * Math.sin(turn)];
    return [centre[0] + a * cos - b * sin, centre[1] + a * sin + b * cos];
  });
}

/**
 * Draws where images lie in the plane of latents, in the colours of their classes, and the components
 * of mixtures as ellipses that hold 95 % of their points.
 *
 * @returns The path of the PNG; undefined if there are not two latents.
 */
export async function saveLatents(
  run: RunFolder,
  model: VaeModel,
  { means, labels }: Latents,
  mixtures?: Mixtures,
): Promise<string | undefined> {
  if (model.config.latent !== 2) return undefined;
  const { classNames } = model.shape;
  const every = Math.ceil(labels.length / POINTS);
  const points = Array.from(
    { length: Math.floor(labels.length / every) },
    (_, i) => {
      const at = i * every;
      return {
        x: means.data[2 * at]!,
        y: means.data[2 * at + 1]!,
        class: classNames[labels[at]!]!,
      };
    },
  );
  const own = mixtures instanceof ClassMixtures
    ? mixtures.mixtures.map((one, y) => ({ one, name: classNames[y]! }))
    : mixtures
    ? [{ one: mixtures, name: "" }]
    : [];
  const corners = own.flatMap(({ one, name }, y) =>
    one.ellipses(SHARE).flatMap((ellipse, k) =>
      outline(ellipse).map(([x, y0], order) => ({
        x,
        y: y0,
        order,
        ellipse: `${y} ${k}`,
        ...(name ? { class: name } : {}),
      }))
    )
  );
  const axis = (field: string, title: string) => ({
    field,
    type: "quantitative",
    axis: { title },
    scale: { zero: false },
  });
  const place = {
    x: axis("x", "First latent"),
    y: axis("y", "Second latent"),
  };
  const color = {
    field: "class",
    type: "nominal",
    sort: null,
    scale: {
      domain: classNames,
      scheme: classNames.length > 10 ? "tableau20" : "tableau10",
    },
    legend: { title: null, symbolOpacity: 1, symbolType: "circle" },
  };
  const isOfClasses = mixtures instanceof ClassMixtures;
  const svg = await chartSvg({
    title: `${run.name}: latents of training images`,
    width: SIDE,
    height: SIDE,
    layer: [
      {
        data: { values: points },
        mark: { type: "circle", size: 12, opacity: own.length ? 0.25 : 0.6 },
        encoding: { ...place, color },
      },
      ...(corners.length === 0 ? [] : [{
        data: { values: corners },
        mark: { type: "line", strokeWidth: 1.5, clip: true },
        encoding: {
          ...place,
          order: { field: "order", type: "quantitative" },
          detail: { field: "ellipse" },
          color: isOfClasses ? color : { value: "black" },
        },
      }]),
    ],
  });
  const name = mixtures ? "latents-gmm" : "latents";
  await save(run, name, svg);
  return run.file(`${name}.png`);
}

/** Draws all figures of a trained model. */
export async function saveFigures(
  run: RunFolder,
  model: VaeModel,
  dataset: Dataset,
): Promise<void> {
  await saveReconstructions(run, model, dataset);
  if (model.config.latent !== 2) return;
  await saveLatents(run, model, await latentsOf(model, dataset, POINTS));
  const classes = model.config.conditional
    ? model.shape.classNames.map((_, y) => y)
    : [0];
  for (const y of classes) {
    const name = model.config.conditional ? `manifold-${y}` : "manifold";
    await saveManifold(run, model, name, y);
  }
}
