/**
 * Convolution of images, and the three products that it and its gradients are made of.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { deviceInfo } from "../tensor/device.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  type Params,
  requireThat,
} from "../tensor/kernel.ts";
import { span } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import activation from "./_activation.wgsl" with { type: "text" };
import common from "./_conv2d.wgsl" with { type: "text" };
import { type Cut, cutOf, type Piece } from "./_conv2d_pieces.ts";
import {
  type Ending,
  endingOf,
  endsPlainly,
  type Epilogue,
  epilogueArguments,
  finish,
  finished,
  gradientOfSums,
  gradientsOfEnding,
} from "./_epilogue.ts";
import epilogue from "./_epilogue.wgsl" with { type: "text" };
import { assemble, fits, moved, partOf, summed } from "./_pieces.ts";
import subgroup from "./_subgroup.wgsl" with { type: "text" };
import tile from "./_tile.wgsl" with { type: "text" };
import { enoughInvocations, formOf, variantOf } from "./_variants.ts";
import { keepsHalves } from "./autocast.ts";
import source from "./conv2d.wgsl" with { type: "text" };
import { convolveByPanels, weightGradientByPanels } from "./conv2d_panel.ts";
import bySubgroups from "./conv2d_subgroup.wgsl" with { type: "text" };
import tiled from "./conv2d_tiled.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";

export type { Activation, Epilogue } from "./_epilogue.ts";

/** A number for both axes, or `[height, width]`. */
export type Pair = number | readonly [height: number, width: number];

/** How the window of `conv2d` moves. */
export interface Conv2dOptions {
  /** Pixels from one window to the next; defaults to 1. */
  stride?: Pair;
  /** Zeros around x: `[h, w]` on both sides, or `[left, right, top, bottom]`; defaults to 0. */
  padding?:
    | Pair
    | readonly [
      left: number,
      right: number,
      top: number,
      bottom: number,
    ];
  /** Pixels from one element of the window to the next; defaults to 1. */
  dilation?: Pair;
  /** Independent groups of channels; defaults to 1. */
  groups?: number;
}

/** How the pixels of a large and a small image meet: `large = stride · small - padding + dilation · tap`. */
export interface Geometry {
  /** Large pixels per small pixel. */
  readonly stride: Size;
  /** Above and on the left; what is below and on the right shows in the sizes. */
  readonly padding: Size;
  /** Large pixels per tap. */
  readonly dilation: Size;
  /** Independent groups of channels. */
  readonly groups: number;
}

/** `[height, width]`. */
export type Size = readonly [height: number, width: number];
type Shape4 = [number, number, number, number];

const kernel = new Kernel(
  "conv2d",
  common,
  activation,
  epilogue,
  source,
  tile,
  tiled,
);
const subgroupKernel = new Kernel(
  "conv2d_subgroup",
  common,
  activation,
  epilogue,
  bySubgroups,
  subgroup,
);
/** Pixels of a sum below which cutting it does not pay. */
const LEAST_PIXELS = 256;

/** Parameters that one entry point uses and another does not. */
const UNUSED = {
  weight_group: 0,
  weight_row: 0,
  weight_channel: 0,
  has_bias: 0,
  splits: 1,
  piece: 0,
};

interface WeightSizes {
  groups: number;
  rows: number;
  channels: number;
}

/** `[groups, taps, rows, channels]`, channels by fours. */
function packedShape(
  weight: Tensor,
  { groups, rows, channels }: WeightSizes,
): number[] {
  const taps = weight.shape[2]! * weight.shape[3]!;
  return [groups, taps, rows, 4 * ceilDiv(channels, 4)];
}

/** A weight in the order in which subgroups read it. */
function pack(weight: Tensor, params: Params & WeightSizes): Tensor {
  const { groups, rows, channels } = params;
  return subgroupKernel.run(
    "pack",
    params,
    { weight, packed_out: empties(packedShape(weight, params)) },
    {
      workgroups: () =>
        ceilDiv(
          groups * rows * ceilDiv(channels, 4),
          subgroupKernel.code("PACK_SIZE"),
        ),
    },
  );
}

function runConvolve(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  outSize: Size,
  params: {
    groups: number;
    rows: number;
    channels: number;
    weight_group: number;
    weight_row: number;
    weight_channel: number;
    origin: Size;
    spacing: Size;
    phases: Size;
    step: Size;
  },
  ending: Epilogue,
): Tensor {
  const { groups, rows, channels, phases } = params;
  const batch = x.shape[0]!;
  const pixels = ceilDiv(outSize[0], phases[0]) *
    ceilDiv(outSize[1], phases[1]);
  const variant = variantOf({
    kind: "convolve",
    batch: groups * phases[0] * phases[1],
    rows,
    cols: batch * pixels,
    k: channels,
    byFour: fits(packedShape(weight, params)), // weights are packed
  });
  const all = {
    ...UNUSED,
    ...params,
    batch,
    has_bias: Number(bias !== undefined),
    taps: sizeOfImage(weight),
    size: sizeOfImage(x),
    out_size: outSize,
  };
  if (variant === "panel") {
    return convolveByPanels(x, weight, bias, all, ending);
  }
  const form = formOf(kernel, subgroupKernel, "convolve", variant);
  const { tensors, constants } = epilogueArguments(form.kernel, ending);
  return form.kernel.run(
    form.entry,
    all,
    {
      x,
      ...(form.kernel === subgroupKernel
        ? { packed: pack(weight, all) }
        : { weight }),
      bias: bias ?? empties([0]), // a binding must hold something, read or not
      ...tensors,
      out: empties([batch, groups * rows, ...outSize]),
    },
    {
      workgroups: () =>
        ceilDiv(rows, form.rows) * groups * phases[0] * phases[1] *
        ceilDiv(batch * pixels, form.cols),
      constants: { ...form.constants, ...constants },
    },
  );
}

/** The part of a weight for some channels; a group has all of its own. */
function partOfWeight(weight: Tensor, { small, large }: Piece, groups: number) {
  const rows = partOf(weight, 0, small);
  return groups > 1 ? rows : partOf(rows, 1, large);
}

/** The part of images that a piece has. */
function partOfImages(x: Tensor, piece: Piece, channels: "small" | "large") {
  return partOf(partOf(x, 0, piece.images), 1, piece[channels]);
}

/** A convolution of operands that are cut; `from` is the side that it reads. */
function byPieces(
  { by, pieces }: Cut,
  from: "large" | "small",
  outShape: readonly number[],
  bias: Tensor | undefined,
  convolvePiece: (piece: Piece, bias: Tensor | undefined) => Tensor,
): Tensor {
  const run = (piece: Piece, bias?: Tensor, place?: Tensor) =>
    moved(convolvePiece(piece, bias), place);
  if (by === from) {
    return summed(
      pieces,
      (piece, first) => run(piece, first ? bias : undefined),
    );
  }
  if (by === "images") {
    return assemble(
      outShape,
      0,
      pieces.map((piece) => piece.images),
      (_, place, i) => run(pieces[i]!, bias, place),
    );
  }
  const to = from === "large" ? "small" : "large";
  return assemble(
    outShape,
    1,
    pieces.map((piece) => piece[to]),
    (part, place, i) => run(pieces[i]!, bias && partOf(bias, 0, part), place),
  );
}

/**
 * From the large image to the small one: the forward pass of `conv2d`.
 *
 * @param weight Shape `[small channels, large channels / groups, kh, kw]`.
 */
export function convolve(
  large: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  geometry: Geometry,
  smallSize: Size,
  ending: Epilogue = {},
): Tensor {
  const { stride, padding, dilation, groups } = geometry;
  const [rows, channels, kh, kw] = weight.shape as Shape4;
  const outShape = [large.shape[0]!, rows, ...smallSize];
  const cut = cutOf(large.shape, outShape, weight.shape, groups);
  if (cut && !endsPlainly(ending)) {
    const sums = convolve(large, weight, bias, geometry, smallSize);
    return finish(sums, ending);
  }
  if (cut) {
    const own = cut.by === "groups" ? { ...geometry, groups: 1 } : geometry;
    return byPieces(cut, "large", outShape, bias, (piece, bias) =>
      convolve(
        partOfImages(large, piece, "large"),
        partOfWeight(weight, piece, groups),
        bias,
        own,
        smallSize,
      ));
  }
  return runConvolve(large, weight, bias, smallSize, {
    groups,
    rows: rows / groups,
    channels,
    weight_group: rows / groups * channels * kh * kw,
    weight_row: channels * kh * kw,
    weight_channel: kh * kw,
    origin: [-padding[0], -padding[1]],
    spacing: dilation,
    phases: [1, 1],
    step: stride,
  }, ending);
}

/**
 * From the small image to the large one: the gradient of `conv2d` with respect to x, and the forward
 * pass of `convTranspose2d`.
 *
 * @param weight Shape `[small channels, large channels / groups, kh, kw]`.
 */
export function convolveTransposed(
  small: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  geometry: Geometry,
  largeSize: Size,
  ending: Epilogue = {},
): Tensor {
  const { stride, padding, dilation, groups } = geometry;
  const [channels, rows, kh, kw] = weight.shape as Shape4;
  const outShape = [small.shape[0]!, groups * rows, ...largeSize];
  const cut = cutOf(outShape, small.shape, weight.shape, groups);
  if (cut && !endsPlainly(ending)) {
    const sums = convolveTransposed(small, weight, bias, geometry, largeSize);
    return finish(sums, ending);
  }
  if (cut) {
    const own = cut.by === "groups" ? { ...geometry, groups: 1 } : geometry;
    return byPieces(
      cut,
      "small",
      outShape,
      bias,
      (piece, bias) =>
        convolveTransposed(
          partOfImages(small, piece, "small"),
          partOfWeight(weight, piece, groups),
          bias,
          own,
          largeSize,
        ),
    );
  }
  return runConvolve(small, weight, bias, largeSize, {
    groups,
    rows,
    channels: channels / groups,
    weight_group: channels / groups * rows * kh * kw,
    weight_row: kh * kw,
    weight_channel: rows * kh * kw,
    origin: padding,
    spacing: [-dilation[0], -dilation[1]],
    phases: stride,
    step: [1, 1],
  }, ending);
}

/**
 * The gradient of the weight, from the large image (or its gradient) and the small one's gradient
 * (or the small image).
 *
 * @param shape `[small channels, large channels / groups, kh, kw]`.
 */
export function weightGradient(
  large: Tensor,
  small: Tensor,
  geometry: Geometry,
  shape: readonly number[],
): Tensor {
  const { stride, padding, dilation, groups } = geometry;
  const [rows, channels, kh, kw] = shape as Shape4;
  const cut = cutOf(large.shape, small.shape, shape, groups);
  if (cut) {
    const own = cut.by === "groups" ? { ...geometry, groups: 1 } : geometry;
    const run = (piece: Piece, shape: readonly number[], place?: Tensor) =>
      moved(
        weightGradient(
          partOfImages(large, piece, "large"),
          partOfImages(small, piece, "small"),
          own,
          shape,
        ),
        place,
      );
    if (cut.by === "images") {
      return summed(cut.pieces, (piece) => run(piece, shape));
    }
    const [axis, key] = cut.by === "large"
      ? [1, "large"] as const
      : [0, "small"] as const;
    const channels = cut.pieces.map((piece) => piece[key]);
    return assemble(
      shape,
      axis,
      channels,
      ([from, to], place, i) =>
        run(cut.pieces[i]!, shape.with(axis, to - from), place),
    );
  }
  const columns = channels * kh * kw;
  const [batch, , height, width] = small.shape as Shape4;
  const pixels = batch * height * width;
  const variant = variantOf({
    kind: "weightGradient",
    batch: groups,
    rows: rows / groups,
    cols: columns,
    k: pixels,
    byFour: true, // or by single pixels
  });
  const all = {
    ...UNUSED,
    batch,
    groups,
    rows: rows / groups,
    channels,
    taps: [kh, kw] as const,
    size: sizeOfImage(large),
    out_size: [height, width] as const,
    origin: [-padding[0], -padding[1]] as const,
    spacing: dilation,
    phases: [1, 1] as const,
    step: stride,
  };
  if (variant === "panel") {
    return weightGradientByPanels(large, small, all, shape);
  }
  const form = formOf(kernel, subgroupKernel, "weight_gradient", variant);
  const bySubgroup = form.kernel === subgroupKernel;
  const splits = Math.max(
    1,
    Math.min(
      ceilDiv(
        enoughInvocations(),
        groups * form.invocations(rows / groups, columns),
      ),
      Math.floor(pixels / LEAST_PIXELS),
      batch * height,
      Math.floor(deviceInfo().maxBindingBytes / (4 * columns * rows)),
    ),
  );
  const out = empties([splits, ...shape]);
  form.kernel.run(
    form.entry,
    { ...all, splits, piece: ceilDiv(batch * height, splits) },
    {
      x: large,
      dy: small,
      ...(bySubgroup ? { dy_by_four: small } : {}),
      ...epilogueArguments(form.kernel, {}).tensors,
      out,
    },
    {
      workgroups: () =>
        ceilDiv(rows / groups, form.rows) * groups *
        ceilDiv(columns, form.cols) * splits,
      constants: bySubgroup
        ? { BY_FOUR: Number(width % 4 === 0) }
        : form.constants,
    },
  );
  return splits === 1 ? out.view(shape) : sum(out, { axis: 0 });
}

/** How an op convolves, and how it ends. */
export interface ConvolutionAttrs {
  readonly geometry: Geometry;
  /** Of the result. */
  readonly size: Size;
  readonly ending: Ending;
}

/** An end that adds and applies nothing. */
const PLAIN: Ending = {
  hasBias: false,
  activation: undefined,
  negativeSlope: 0,
};

type ImageOp = Op<readonly Tensor[], ConvolutionAttrs>;

// The three products are gradients of each other: all are one sum over a large image, a small one and a
// weight, seen as a function of two of them.

/**
 * A convolution of either kind.
 *
 * @param product From x and the weight.
 * @param transposed The op of the other kind.
 * @param isLarge Whether x is the large image.
 */
function imageOp(
  name: string,
  product: typeof convolve,
  transposed: () => ImageOp,
  isLarge: boolean,
  flops: ImageOp["flops"],
): ImageOp {
  const op: ImageOp = {
    name,
    forward(inputs, { geometry, size, ending }, context) {
      const [x, weight] = inputs as [Tensor, Tensor];
      return finished(
        inputs,
        ending,
        context,
        (bias, end) => product(x, weight, bias, geometry, size, end),
      );
    },
    backward(dy, inputs, attrs, context) {
      const [x, weight] = inputs as [Tensor, Tensor], { needs } = context;
      const { geometry, ending } = attrs;
      const sums = () =>
        apply(op, inputs, {
          ...attrs,
          ending: { ...ending, activation: undefined },
        });
      const dSums = gradientOfSums(dy, ending, context, sums);
      const images = isLarge ? [x, dSums] as const : [dSums, x] as const;
      return [
        needs[0]
          ? plainly(transposed(), dSums, weight, geometry, sizeOfImage(x))
          : null,
        needs[1]
          ? apply(weightGradientOp, images, { geometry, shape: weight.shape })
          : null,
        ...gradientsOfEnding(inputs, dSums, ending, context),
      ];
    },
    flops,
  };
  return op;
}

const conv2dOp = imageOp(
  "conv2d",
  convolve,
  () => convTranspose2dOp,
  true,
  ([, weight], _, y) => 2 * y.size * span(weight!.shape, 1),
);
/** The op of `convTranspose2d`. */
export const convTranspose2dOp: ImageOp = imageOp(
  "convTranspose2d",
  convolveTransposed,
  () => conv2dOp,
  false,
  ([x, weight]) => 2 * x!.size * span(weight!.shape, 1),
);

const weightGradientOp: Op<
  readonly [large: Tensor, small: Tensor],
  { geometry: Geometry; shape: readonly number[] }
> = {
  name: "the gradient of a convolution's weight",
  forward: ([large, small], { geometry, shape }) =>
    weightGradient(large, small, geometry, shape),
  backward: (dWeight, [large, small], { geometry }, { needs }) => [
    needs[0]
      ? plainly(convTranspose2dOp, small, dWeight, geometry, sizeOfImage(large))
      : null,
    needs[1]
      ? plainly(conv2dOp, large, dWeight, geometry, sizeOfImage(small))
      : null,
  ],
};

/** A convolution of either kind that ends plainly. */
function plainly(
  op: ImageOp,
  x: Tensor,
  weight: Tensor,
  geometry: Geometry,
  size: Size,
): Tensor {
  return apply(op, [x, weight], { geometry, size, ending: PLAIN });
}

/** Height and width of `[N, C, H, W]`. */
export function sizeOfImage(x: Tensor): Size {
  return [x.shape[2]!, x.shape[3]!];
}

/** A number for both axes, as a pair; throws unless both are whole and at least `least`. */
export function pairOf(
  operation: string,
  name: string,
  value: Pair,
  least: number,
): Size {
  const both = typeof value === "number" ? [value, value] as const : value;
  requireWhole(operation, name, both, least);
  return both;
}

function requireWhole(
  operation: string,
  name: string,
  values: readonly number[],
  least: number,
): void {
  if (values.every((value) => Number.isInteger(value) && value >= least)) {
    return;
  }
  throw new RangeError(
    `Cannot apply ${operation} as ${name} must be whole and at least ${least}: it is ${
      values.join(", ")
    }`,
  );
}

/** Throws unless the operands are f32 of rank 4, the bias of rank 1. */
export function requireImages(
  operation: string,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  groups: number,
): void {
  requireWhole(operation, "groups", [groups], 1);
  const found = { x, weight, ...(bias ? { bias } : {}) };
  requireThat(
    Object.values(found).every((tensor) => tensor.dtype === "f32"),
    operation,
    "elements must be f32",
    found,
  );
  requireThat(
    x.rank === 4 && weight.rank === 4 && (!bias || bias.rank === 1),
    operation,
    "x and weight must have 4 axes and the bias one",
    found,
  );
}

/**
 * Convolution (without flipping the window, as all of the field has it), PyTorch's `conv2d`:
 * `y[n, o, p] = b[o] + Σ_(c, k) w[o, c, k] x[n, c, stride · p - padding + dilation · k]`, with zeros
 * outside of x. What `add` and `activation` ask for, `activation(y + add)`, costs no further pass.
 *
 * @param x Shape `[N, inChannels, H, W]`.
 * @param weight Shape `[outChannels, inChannels / groups, kh, kw]`.
 * @param bias Shape `[outChannels]`; may be left out.
 * @returns Shape `[N, outChannels, H', W']`, where
 *   `H' = ⌊(H + top + bottom - dilation · (kh - 1) - 1) / stride⌋ + 1`.
 * @throws {TypeError} If the shapes do not fit, or the window is larger than the padded image.
 * @throws {RangeError} If an option is not whole, too small, or unknown.
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options: Conv2dOptions & Epilogue = {},
): Tensor {
  const { groups = 1, padding = 0 } = options;
  requireImages("conv2d", x, weight, bias, groups);
  const stride = pairOf("conv2d", "stride", options.stride ?? 1, 1);
  const dilation = pairOf("conv2d", "dilation", options.dilation ?? 1, 1);
  const [left, right, top, bottom] = typeof padding === "number"
    ? [padding, padding, padding, padding]
    : padding.length === 2
    ? [padding[1], padding[1], padding[0], padding[0]]
    : padding;
  requireWhole("conv2d", "padding", [left, right, top, bottom], 0);

  const [outChannels, channels, kh, kw] = weight.shape as Shape4;
  const found = { x, weight, ...(groups > 1 ? { groups } : {}) };
  requireThat(
    x.shape[1] === channels * groups,
    "conv2d",
    `x must have ${channels * groups} channels`,
    found,
  );
  requireThat(
    outChannels % groups === 0,
    "conv2d",
    "the groups must divide the weight's output channels",
    found,
  );
  requireThat(
    !bias || bias.size === outChannels,
    "conv2d",
    `the bias must be [${outChannels}]`,
    { ...found, ...(bias ? { bias } : {}) },
  );
  const [height, width] = sizeOfImage(x);
  const length = (padded: number, taps: number, axis: 0 | 1) =>
    Math.floor((padded - dilation[axis] * (taps - 1) - 1) / stride[axis]) + 1;
  const size = [
    length(height + top + bottom, kh, 0),
    length(width + left + right, kw, 1),
  ] as const;
  requireThat(
    size[0] > 0 && size[1] > 0,
    "conv2d",
    "the window must fit into the padded image",
    { ...found, padding: `${[left, right, top, bottom]}` },
  );
  const geometry = { stride, padding: [top, left] as const, dilation, groups };
  const shape = [x.shape[0]!, outChannels, ...size];
  const { inputs, ending } = endingOf("conv2d", bias, options, shape);
  return apply(keepsHalves(conv2dOp), [x, weight, ...inputs], {
    geometry,
    size,
    ending,
  });
}
