/**
 * This library, as the benchmark asks for it.
 *
 * @module
 */
import * as d from "../mod.ts";
import { copyInPlace } from "../tensor/fill.ts";
import type { Library, Weights } from "./library.ts";

type Tensor = d.Tensor;

/** A step that is captured when it first runs, and replayed from then on. */
export function captured(
  step: () => Tensor,
  shape: readonly number[],
): () => Tensor[] {
  const result = d.zeros(shape);
  let made: d.CapturedStep<never, never> | undefined;
  return () => {
    made ??= d.capture(() => {
      copyInPlace(result, step());
      return {};
    });
    made.replay({});
    return [result.detach()];
  };
}

/** This library on the device in use. */
export function denoise(): Library<Tensor> {
  return {
    name: "denoise",
    adapter: d.deviceInfo().adapter,
    tensor: (data, shape) => d.tensor(data, shape),
    read: async (x) => Float32Array.from(await x.data()),
    wait: async (results) => {
      const x = results.at(-1)!;
      await (x.size === 1 ? x.item() : d.sync());
    },
    free: (tensors) => tensors.forEach((x) => x.dispose()),
    compile: (f, inputs) => () => d.scope(() => f(...inputs)),
    compileNetwork: (f, inputs, shape) => captured(() => f(...inputs), shape),
    gradients: (f, xs) => {
      xs.forEach((x) => x.requireGrad());
      return d.gradients(f(...xs), [...xs]);
    },
    train({ networks, inputs, adam, step }) {
      const weights: Weights<Tensor>[] = networks.map((network) =>
        Object.fromEntries(
          Object.entries(network).map(([name, x]) => [name, d.parameter(x)]),
        )
      );
      const parameters = weights.map((network) => Object.values(network));
      const optimizers = parameters.map((list) => new d.Adam(list, adam));
      const run = captured(() =>
        step(
          (i) => weights[i]!,
          (i, f) => {
            const loss = f(weights[i]!);
            optimizers[i]!.step(d.gradients(loss, parameters[i]!));
            return loss;
          },
          ...inputs,
        ), []);
      return () => run()[0]!;
    },
    constant: (f) => d.noGrad(f),
    add: d.add,
    mulAdd: (a, b, c) => d.addcmul(c, a, b),
    mul: d.mul,
    exp: d.exp,
    sin: d.sin,
    cos: d.cos,
    tanh: d.tanh,
    relu: d.relu,
    leakyRelu: d.leakyRelu,
    silu: d.silu,
    sum: (x) => d.sum(x),
    softmax: (x) => d.softmax(x),
    matmul: d.matmul,
    linear: d.linear,
    conv2d: (x, weight, bias, window) =>
      d.conv2d(x, weight, bias ?? undefined, window),
    convTranspose2d: (x, weight, bias, window) =>
      d.convTranspose2d(x, weight, bias ?? undefined, window),
    groupNorm: (x, groups, weight, bias) =>
      d.groupNorm(x, groups, weight, bias, 1e-5),
    groupNormSilu: (x, groups, weight, bias) =>
      d.groupNormSilu(x, groups, weight, bias, 1e-5),
    batchNorm: (x, weight, bias) =>
      d.batchNorm(x, { weight, bias, training: true }),
    attention: (q, k, v) => d.attention(q, k, v),
    imageAttention(qkv, heads) {
      const [n, c, height, width] = qkv.shape as [
        number,
        number,
        number,
        number,
      ];
      const shape = [n, 3, heads, c / 3 / heads, height * width];
      const [q, k, v] = d.split(d.reshape(qkv, shape), 3, 1).map((part) =>
        d.transpose(d.squeeze(part, 1))
      );
      const y = d.transpose(d.attention(q!, k!, v!));
      return d.reshape(y, [n, c / 3, height, width]);
    },
    upsample: (x) => d.upsampleNearest(x, { scale: 2 }),
    concatChannels: (a, b) => d.concat([a, b], 1),
    addPerChannel: (x, bias) =>
      d.add(x, d.reshape(bias, [...bias.shape, 1, 1])),
    flatten: (x) => d.flatten(x, 1),
    unflatten: (x, channels, size) =>
      d.reshape(x, [x.shape[0]!, channels, size, size]),
    concat: (a, b) => d.concat([a, b], 1),
    halves: (x) => d.split(x, 2, 1) as [Tensor, Tensor],
    outer: (a, b) => d.mul(d.unsqueeze(a, 1), b),
    mseLoss: (x, target) => d.mseLoss(x, target),
    bceWithLogits: (logits, target, reduction) =>
      d.bceWithLogits(
        logits,
        typeof target === "number" ? d.full(logits.shape, target) : target,
        { reduction },
      ),
    gaussianKl: (mu, logVar) => d.gaussianKl(mu, logVar, { reduction: "sum" }),
  };
}
