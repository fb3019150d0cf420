/**
 * The products of `conv2d` in the form for the CPU: from images and weights that are written down
 * once more, in the order in which they are read.
 *
 * @module
 */
import { ceilDiv, empties, Kernel, type Params } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import activation from "./_activation.wgsl" with { type: "text" };
import { type Epilogue, epilogueArguments } from "./_epilogue.ts";
import epilogue from "./_epilogue.wgsl" with { type: "text" };
import source from "./conv2d_panel.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";

const kernel = new Kernel("conv2d_panel", activation, epilogue, source);

/** `[height, width]`. */
type Size = readonly [height: number, width: number];

/** A product of images, as `_conv2d.wgsl` describes it; rows and channels are those of one group. */
export interface PanelProduct {
  readonly batch: number;
  readonly groups: number;
  readonly rows: number;
  readonly channels: number;
  readonly taps: Size;
  /** Of x. */
  readonly size: Size;
  /** Of the result, or of dy. */
  readonly out_size: Size;
  readonly origin: Size;
  readonly spacing: Size;
  readonly phases: Size;
  readonly step: Size;
}

/** Strides of a weight. */
interface Strides {
  readonly weight_group: number;
  readonly weight_row: number;
  readonly weight_channel: number;
}

const NONE = {
  weight_group: 0,
  weight_row: 0,
  weight_channel: 0,
  has_bias: 0,
  panels: 0,
  wide_panels: 0,
  splits: 1,
  pieces: 1,
  piece: 0,
  walk: 0,
  walks: 1,
  walks_per_split: 1,
  x_walk: 0,
  dy_walk: 0,
  dy_channel: 0,
  to_image: 0,
  to_channel: 0,
  to_residue: 0,
  tail: 0,
};
/** Words of a line of packed x that a split of `weightGradient` sums; they stay in the nearest cache. */
const PIECE = 2048;
/** Words from which a walk of its own for each image pays. */
const LONG = 256;
/** Pixels that lie next to each other in a sum. */
const QUAD = 4;

/** How far taps reach along an axis: zeros before x, and how much further a sum reads. */
function reach(
  { taps, origin, spacing, phases, step }: PanelProduct,
  axis: 0 | 1,
): { lead: number; last: number } {
  let first = 0, last = 0;
  for (let phase = 0; phase < phases[axis]; phase++) {
    for (const tap of [0, taps[axis] - 1]) {
      const start = (origin[axis] + phase + spacing[axis] * tap) / phases[axis];
      first = Math.min(first, Math.floor(Math.floor(start) / step[axis]));
      last = Math.max(last, Math.floor(Math.ceil(start) / step[axis]));
    }
  }
  return { lead: -first, last };
}

/** Sizes of packed x. */
interface Packing {
  readonly lead: Size;
  readonly padded: Size;
  readonly to_image: number;
  readonly to_channel: number;
  readonly to_residue: number;
  readonly tail: number;
}

/** Writes images with zeros around them. */
function packImage(
  x: Tensor,
  product: PanelProduct,
  packing: Packing,
  shape: readonly number[],
): Tensor {
  const { batch, groups, channels, step } = product;
  return kernel.run(
    "pack_image",
    { ...NONE, ...product, ...packing },
    { x, out: empties(shape) },
    { workgroups: () => batch * groups * channels * step[0] * step[1] },
  );
}

/** The table of taps. */
function makePlan(params: Params, { taps, phases }: PanelProduct): Tensor {
  return kernel.run(
    "make_plan",
    params,
    {
      plan_out: empties([
        phases[0] * phases[1],
        1 + 2 * taps[0] * taps[1],
      ], "u32"),
    },
    { workgroups: () => 1 },
  );
}

/** How rows are shared out to panels, so that the fewest are idle. */
function panelsOf(rows: number): { panels: number; wide_panels: number } {
  const wide = kernel.code("ROWS"), narrow = kernel.code("NARROW_ROWS");
  const [best] = [0, 1, 2].map((count) => {
    const wide_panels = Math.max(0, ceilDiv(rows - narrow * count, wide));
    const panels = wide_panels + count;
    return {
      panels,
      wide_panels,
      covered: wide * wide_panels + narrow * count,
    };
  }).toSorted((a, b) => a.covered - b.covered);
  return best!;
}

/** Whether each pixel of the result sees the pixel of x at its place, and no other. */
function isPlain({ taps, size, out_size, ...rest }: PanelProduct): boolean {
  return [0, 1].every((i) =>
    taps[i] === 1 && size[i] === out_size[i] && rest.origin[i] === 0 &&
    rest.phases[i] === 1 && rest.step[i] === 1
  );
}

/** `out[n, r, p] = Σ weight[r, c, tap] x[n, c, q(p, tap)] + bias[r]`. */
export function convolveByPanels(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  product: PanelProduct & Strides,
  ending: Epilogue,
): Tensor {
  const { batch, groups, rows, channels, taps } = product;
  // Without neighbours an image is one long line, and is read where it is.
  const pixels = product.size[0] * product.size[1];
  const plain = isPlain(product) && pixels >= QUAD;
  const line: Size = [1, pixels];
  const flat = plain ? { ...product, size: line, out_size: line } : product;
  const { phases, step, out_size } = flat;
  const axes = ([0, 1] as const).map((axis) => {
    const { lead, last } = reach(flat, axis);
    const count = ceilDiv(out_size[axis], phases[axis]);
    return { lead, length: lead + last + Math.max(count, axis ? QUAD : 1) };
  });
  const plane = axes[0]!.length * axes[1]!.length;
  const to_channel = plane * step[0] * step[1];
  const packing: Packing = {
    lead: [axes[0]!.lead, axes[1]!.lead],
    padded: [axes[0]!.length, axes[1]!.length],
    to_residue: plane,
    to_channel,
    to_image: groups * channels * to_channel,
    tail: 0,
  };
  const { panels, wide_panels } = panelsOf(rows);
  const params = {
    ...NONE,
    ...flat,
    ...packing,
    panels,
    wide_panels,
    has_bias: Number(bias !== undefined),
  };
  const packed = kernel.run("pack_weight", params, {
    weight,
    out: empties([
      groups,
      panels,
      taps[0] * taps[1],
      channels,
      kernel.code("ROWS"),
    ]),
  }, { workgroups: () => groups * panels });
  const size = out_size.map((length, axis) => ceilDiv(length, phases[axis]!));
  const quads = batch * size[0]! * ceilDiv(size[1]!, QUAD);
  const { tensors, constants } = epilogueArguments(kernel, ending);
  return kernel.run("convolve", params, {
    x: plain
      ? x
      : packImage(x, flat, packing, [batch, groups * channels, to_channel]),
    weight: packed,
    bias: bias ?? empties([0]), // a binding must hold something, read or not
    plan: makePlan(params, flat),
    ...tensors,
    out: empties([batch, groups * rows, ...product.out_size]),
  }, {
    constants,
    workgroups: () =>
      ceilDiv(panels, kernel.code("PANELS")) * groups * phases[0] * phases[1] *
      ceilDiv(quads, 2),
  });
}

/** What a weight gradient reads, and how it walks through it. */
interface Walks {
  x: Tensor;
  dy: Tensor;
  /** Words of a walk. */
  walk: number;
  walks: number;
  params: Params;
}

/** Images that are read where they are, each in a walk of its own. */
function walksInPlace(x: Tensor, dy: Tensor, product: PanelProduct): Walks {
  const { batch, groups, rows, channels, size } = product;
  const pixels = size[0] * size[1];
  const params = {
    ...NONE,
    ...product,
    lead: [0, 0],
    padded: size,
    to_channel: pixels,
    x_walk: groups * channels * pixels,
    dy_walk: groups * rows * pixels,
    dy_channel: pixels,
  };
  return { x, dy, walk: pixels, walks: batch, params };
}

/** Images with zeros around them, all in one walk. */
function walkPacked(x: Tensor, dy: Tensor, product: PanelProduct): Walks {
  const { batch, groups, rows, channels, size, out_size, step } = product;
  const along = (axis: 0 | 1) => {
    const { lead, last } = reach(product, axis);
    const needed = out_size[axis] + last;
    const inside = Math.min(ceilDiv(size[axis], step[axis]), needed);
    // Room for x, and past the end of a line a tap meets the zeros of the next one alone.
    return { lead, end: lead + last, length: Math.max(lead + inside, needed) };
  };
  const height = along(0), width = along(1);
  const plane = height.length * width.length;
  const words = batch * plane;
  const beyond = height.end * width.length + width.end + QUAD;
  // Channels begin an odd number of cache lines after each other, in different sets of the cache.
  const line = 16;
  const to_channel = line * (ceilDiv(words + beyond, line) | 1);
  const packing: Packing = {
    lead: [height.lead, width.lead],
    padded: [height.length, width.length],
    to_image: plane,
    to_channel,
    to_residue: groups * channels * to_channel,
    tail: to_channel - words,
  };
  const packed = packImage(x, product, packing, [
    step[0] * step[1],
    groups * channels,
    to_channel,
  ]);
  const packedGradient = packImage(
    dy,
    { ...product, channels: rows, size: out_size, step: [1, 1] },
    { ...packing, lead: [0, 0] },
    [groups * rows, to_channel],
  );
  return {
    x: packed,
    dy: packedGradient,
    walk: words,
    walks: 1,
    params: { ...NONE, ...product, ...packing, dy_channel: to_channel },
  };
}

/** `dw[r, c, tap] = Σ dy[n, r, p] x[n, c, q(p, tap)]`, of the given shape. */
export function weightGradientByPanels(
  x: Tensor,
  dy: Tensor,
  product: PanelProduct,
  shape: readonly number[],
): Tensor {
  const { groups, rows, channels, taps, size } = product;
  const pixels = size[0] * size[1];
  const inPlace = isPlain(product) && pixels % QUAD === 0 && pixels >= LONG;
  const found = (inPlace ? walksInPlace : walkPacked)(x, dy, product);
  const { walk, walks } = found;
  const pieces = ceilDiv(walk, PIECE);
  const perSplit = Math.max(1, Math.floor(PIECE / walk));
  const splits = pieces * ceilDiv(walks, perSplit);
  const params = {
    ...found.params,
    splits,
    pieces,
    piece: QUAD * ceilDiv(walk, QUAD * pieces),
    walk,
    walks,
    walks_per_split: perSplit,
  };
  const out = empties([splits, ...shape]);
  const columns = channels * taps[0] * taps[1];
  kernel.run("weight_gradient", params, {
    x: found.x,
    dy: found.dy,
    plan: makePlan(params, product),
    out,
  }, {
    workgroups: () =>
      ceilDiv(columns, kernel.code("GRADIENT_COLUMNS")) *
      ceilDiv(rows, kernel.code("GRADIENT_RUN")) * groups * splits,
  });
  return splits === 1 ? out.view(shape) : sum(out, { axis: 0 });
}
