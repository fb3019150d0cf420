/**
 * Cases of the group `ops`.
 *
 * @module
 */
import * as d from "../../mod.ts";
import type { Tensor } from "../../mod.ts";
import {
  answer,
  type Arrays,
  type Case,
  inputsOf,
  type Values,
} from "./case.ts";

type Inputs = Readonly<Record<string, Tensor>>;
type Attrs = Case["attrs"];
/** Computes the output named `out`, or several by role. */
type Compute = (
  inputs: Inputs,
  attrs: Attrs,
) => Tensor | Record<string, Tensor>;

const unary = (f: (x: Tensor) => Tensor): Compute => ({ x }) => f(x!);
const binary = (f: (a: Tensor, b: Tensor) => Tensor): Compute => ({ a, b }) =>
  f(a!, b!);
const reduction = (
  f: (x: Tensor, options: d.ReduceOptions) => Tensor,
): Compute =>
({ x }, a) =>
  f(x!, { axis: a.dim ?? undefined, keepDims: a.keepdim, ...correction(a) });
const correction = (a: Attrs) =>
  a.correction === undefined ? {} : { correction: a.correction };
const defined = <T>(value: T | null | undefined): T | undefined =>
  value ?? undefined;
/** All inputs, in order. */
const listed = (inputs: Inputs): Tensor[] => Object.values(inputs);

function window(a: Attrs) {
  const { stride, padding, dilation, groups } = a;
  return { stride, padding, dilation, groups };
}

const OPS: Readonly<Record<string, Compute>> = {
  add: binary(d.add),
  sub: binary(d.sub),
  mul: binary(d.mul),
  div: binary(d.div),
  maximum: binary(d.maximum),
  minimum: binary(d.minimum),
  pow: binary(d.pow),
  where: ({ cond, a, b }) => d.where(cond!, a!, b!),
  pow_scalar: ({ x }, a) => d.powScalar(x!, a.exponent),
  exp: unary(d.exp),
  log: unary(d.log),
  sqrt: unary(d.sqrt),
  rsqrt: unary(d.rsqrt),
  neg: unary(d.neg),
  abs: unary(d.abs),
  sin: unary(d.sin),
  cos: unary(d.cos),
  relu: unary(d.relu),
  sigmoid: unary(d.sigmoid),
  tanh: unary(d.tanh),
  silu: unary(d.silu),
  clamp: ({ x }, a) =>
    d.clamp(x!, { min: defined<number>(a.min), max: defined<number>(a.max) }),
  leaky_relu: ({ x }, a) => d.leakyRelu(x!, a.negative_slope),
  gelu: ({ x }, a) => d.gelu(x!, { approximate: a.approximate }),
  softplus: ({ x }, a) =>
    d.softplus(x!, { beta: a.beta, threshold: a.threshold }),
  sum: reduction(d.sum),
  mean: reduction(d.mean),
  max: reduction(d.max),
  min: reduction(d.min),
  logsumexp: reduction(d.logSumExp),
  var: reduction(d.variance),
  std: reduction(d.std),
  argmax: ({ x }, a) => d.argMax(x!, { axis: a.dim, keepDims: a.keepdim }),
  softmax: ({ x }, a) => d.softmax(x!, a.dim),
  log_softmax: ({ x }, a) => d.logSoftmax(x!, a.dim),
  matmul: ({ a, b }, attrs) =>
    d.matmul(a!, b!, {
      transposeA: attrs.transpose_a,
      transposeB: attrs.transpose_b,
    }),
  linear: ({ x, weight, bias }) => d.linear(x!, weight!, bias),
  reshape: ({ x }, a) => d.reshape(x!, a.shape),
  permute: ({ x }, a) => d.permute(x!, a.dims),
  permute_reshape: ({ x }, a) => d.reshape(d.permute(x!, a.dims), a.shape),
  slice: ({ x }, a) => d.slice(x!, a.start, a.end, a.step),
  concat: (inputs, a) => d.concat(listed(inputs), a.dim),
  stack: (inputs, a) => d.stack(listed(inputs), a.dim),
  pad: ({ x }, a) => {
    if (a.mode !== "constant") {
      throw new Error(`There is no pad mode ${a.mode}`);
    }
    return d.pad(x!, a.pad, a.value);
  },
  flip: ({ x }, a) => d.flip(x!, a.dims),
  expand: ({ x }, a) => d.expand(x!, a.shape),
  embedding: ({ weight, index }) => d.embedding(weight!, index!),
  gather: ({ x, index }, a) => d.gather(x!, a.dim, index!),
  index_select: ({ x, index }, a) => d.indexSelect(x!, a.dim, index!),
  one_hot: ({ index }, a) => d.oneHot(index!, a.num_classes),
  conv2d: ({ x, weight, bias }, a) =>
    d.conv2d(a.pad ? d.pad(x!, a.pad) : x!, weight!, bias, window(a)),
  conv_transpose2d: ({ x, weight, bias }, a) =>
    d.convTranspose2d(x!, weight!, bias, {
      ...window(a),
      outputPadding: a.output_padding,
    }),
  max_pool2d: ({ x }, a) =>
    d.maxPool2d(x!, a.kernel, { stride: a.stride, padding: a.padding }),
  avg_pool2d: ({ x }, a) =>
    d.avgPool2d(x!, a.kernel, {
      stride: a.stride,
      padding: a.padding,
      countIncludePad: a.count_include_pad,
    }),
  adaptive_avg_pool2d: ({ x }, a) => d.adaptiveAvgPool2d(x!, a.output_size),
  upsample_nearest: ({ x }, a) =>
    d.upsampleNearest(x!, a.size ?? { scale: a.scale }),
  upsample_bilinear: ({ x }, a) =>
    d.upsampleBilinear(x!, a.size, { alignCorners: a.align_corners }),
  batch_norm: ({ x, weight, bias, running_mean, running_var }, a) => {
    const { training, momentum, eps } = a;
    const out = d.batchNorm(x!, {
      weight,
      bias,
      runningMean: running_mean,
      runningVar: running_var,
      training,
      momentum,
      eps,
    });
    return {
      out,
      new_running_mean: running_mean!,
      new_running_var: running_var!,
    };
  },
  group_norm: ({ x, weight, bias }, a) =>
    d.groupNorm(x!, a.num_groups, weight, bias, a.eps),
  layer_norm: ({ x, weight, bias }, a) =>
    d.layerNorm(x!, a.normalized_shape, weight, bias, a.eps),
  sdpa: ({ q, k, v }, a) =>
    d.attention(q!, k!, v!, {
      scale: defined<number>(a.scale),
      causal: a.causal,
    }),
  multihead_attention: (i, a) =>
    d.multiheadAttention(
      i.x!,
      i.in_proj_weight!,
      i.in_proj_bias!,
      i.out_proj_weight!,
      i.out_proj_bias!,
      a.num_heads,
    ),
  mse: ({ x, target }, { reduction }) => d.mseLoss(x!, target!, { reduction }),
  l1: ({ x, target }, { reduction }) => d.l1Loss(x!, target!, { reduction }),
  huber: ({ x, target }, { reduction, delta }) =>
    d.huberLoss(x!, target!, { reduction, delta }),
  bce_with_logits: ({ x, target }, { reduction }) =>
    d.bceWithLogits(x!, target!, { reduction }),
  cross_entropy: ({ x, target }, a) =>
    d.crossEntropy(x!, target!, {
      reduction: a.reduction,
      labelSmoothing: a.label_smoothing,
    }),
  kl_standard_normal: ({ mu, logvar }, { reduction }) =>
    d.gaussianKl(mu!, logvar!, { reduction }),
  kl_diag_gaussians: (i, { reduction }) =>
    d.gaussianKlBetween(i.mu1!, i.logvar1!, i.mu2!, i.logvar2!, { reduction }),
  clip_grad_norm: (inputs, a) => {
    if (a.norm_type !== 2) throw new Error(`There is no norm ${a.norm_type}`);
    const clipped = d.clipGradNorm(listed(inputs), a.max_norm, a.eps);
    return {
      total_norm: clipped.norm,
      ...Object.fromEntries(clipped.gradients.map((g, i) => [`c${i}`, g])),
    };
  },
  chain: ({ x, w }, a) => {
    const known = "h=tanh(x@w); out=sum(h*h+h,0)+mean(h@w^T)*h[0]";
    if (a.formula !== known) throw new Error(`Unknown formula: ${a.formula}`);
    const h = d.tanh(d.matmul(x!, w!));
    const sums = d.sum(d.add(d.mul(h, h), h), { axis: 0 });
    const back = d.mean(d.matmul(h, w!, { transposeB: true }));
    const first = d.reshape(d.narrow(h, 0, 0, 1), [h.shape[1]!]);
    return d.add(sums, d.mul(back, first));
  },
};

/** Computes an op and its gradients. */
export function runOp(one: Case, arrays: Arrays): Values {
  const compute = Object.hasOwn(OPS, one.op) ? OPS[one.op] : undefined;
  if (!compute) throw new Error(`There is no runner for ${one.op}`);
  const inputs = inputsOf(one, arrays);
  const made = compute(inputs, one.attrs);
  const outputs = made instanceof d.Tensor ? { out: made } : made;
  return answer(one, arrays, inputs, outputs);
}
