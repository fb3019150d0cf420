/**
 * TensorFlow.js, as the benchmark asks for it, and its WebGPU backend: images as [N, H, W, C], its own
 * layout; `tf.tidy` around a run; fused bias where it has it; its Adam.
 *
 * The package is imported by a computed name and typed loosely, so that neither a user of the library
 * nor a type check downloads it.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any
import type { Layout, Library, Weights } from "../library.ts";

/** Of all its packages. */
export const VERSION = "4.22.0";

/** From our axes to those of TensorFlow.js. */
const PERMUTATION: Record<Layout, number[] | null> = {
  image: [0, 2, 3, 1],
  conv: [2, 3, 1, 0], // [kH, kW, in, out]
  convT: [2, 3, 1, 0], // [kH, kW, out, in]
  lin: [1, 0], // [in, out]
  plain: null,
};

/** A package of TensorFlow.js, all of one version. */
export const load = (name: string): Promise<any> =>
  import(`npm:@tensorflow/${name}@${VERSION}`);

/** Opens TensorFlow.js on its WebGPU backend. */
export async function openTfjs(): Promise<Library<any>> {
  // The backend asks for one feature by a nested array, which this runtime refuses.
  const { prototype } = GPUAdapter;
  const { requestDevice } = prototype;
  prototype.requestDevice = function (descriptor) {
    const requiredFeatures = [...descriptor?.requiredFeatures ?? []].flat();
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
  const tf = await load("tfjs"); // with gradients, which tfjs-core alone does not register
  await load("tfjs-backend-webgpu");
  if (!await tf.setBackend("webgpu")) {
    throw new Error("TensorFlow.js did not open its WebGPU backend");
  }
  await tf.ready();
  const { info } = (await navigator.gpu.requestAdapter())!;
  return tfjsLibrary(tf, `tfjs-${VERSION}`, info.description);
}

/** TensorFlow.js on the backend that it has opened. */
export function tfjsLibrary(
  tf: any,
  name: string,
  adapter: string,
): Library<any> {
  const biased = (y: any, bias: any) => bias === null ? y : tf.add(y, bias);
  const attention = (q: any, k: any, v: any) => {
    const scores = tf.matMul(q, k, false, true);
    const weights = tf.softmax(tf.mul(scores, 1 / Math.sqrt(q.shape[3])));
    return tf.matMul(weights, v);
  };
  const silu = (x: any) => tf.mul(x, tf.sigmoid(x));
  const groupNorm = (x: any, groups: number, weight: any, bias: any) => {
    const [n, height, width, c] = x.shape;
    const grouped = tf.reshape(x, [n, height * width, groups, c / groups]);
    const { mean, variance } = tf.moments(grouped, [1, 3], true);
    const unit = tf.mul(
      tf.sub(grouped, mean),
      tf.rsqrt(tf.add(variance, 1e-5)),
    );
    return tf.add(tf.mul(tf.reshape(unit, x.shape), weight), bias);
  };
  return {
    name,
    adapter,
    tensor(data, shape, layout = "plain") {
      const x = tf.tensor(data, shape, "float32");
      const axes = PERMUTATION[layout];
      return axes ? tf.transpose(x, axes) : x;
    },
    read(x, layout) {
      const axes = PERMUTATION[layout];
      if (!axes) return x.data();
      return tf.transpose(x, axes.map((_, i) => axes.indexOf(i))).data();
    },
    async wait(results) {
      const one = tf.tidy(() =>
        tf.slice(tf.reshape(results.at(-1), [-1]), 0, 1)
      );
      await one.data();
      one.dispose();
    },
    free: (tensors) => tf.dispose(tensors),
    compile: (f, inputs) => () => tf.tidy(() => f(...inputs)),
    compileNetwork: (f, inputs) => () => [tf.tidy(() => f(...inputs))],
    gradients: (f, xs) => tf.grads(f)([...xs]),
    train({ networks, inputs, adam, step }) {
      const weights: Weights<any>[] = networks.map((network) =>
        Object.fromEntries(
          Object.entries(network).map(([name, x]) => [name, tf.variable(x)]),
        )
      );
      const optimizers = networks.map(() =>
        tf.train.adam(adam.learningRate, ...adam.betas, 1e-8)
      );
      return () =>
        tf.tidy(() =>
          step(
            (i) => weights[i]!,
            (i, f) =>
              optimizers[i].minimize(
                () => f(weights[i]!),
                true,
                Object.values(weights[i]!),
              ),
            ...inputs,
          )
        );
    },
    constant: (f) => f(),
    add: tf.add,
    mulAdd: (a, b, c) => tf.add(tf.mul(a, b), c),
    mul: tf.mul,
    exp: tf.exp,
    sin: tf.sin,
    cos: tf.cos,
    tanh: tf.tanh,
    relu: tf.relu,
    leakyRelu: tf.leakyRelu,
    silu,
    sum: (x) => tf.sum(x),
    softmax: (x) => tf.softmax(x),
    matmul: (a, b) => tf.matMul(a, b),
    linear: (a, b, bias) => tf.fused.matMul({ a, b, bias }),
    conv2d: (x, filter, bias, { stride, padding }) =>
      bias === null
        ? tf.conv2d(x, filter, stride, padding)
        : tf.fused.conv2d({ x, filter, strides: stride, pad: padding, bias }),
    convTranspose2d(x, filter, bias, { stride, padding }) {
      const [n, height, width] = x.shape;
      const shape = [n, height * stride, width * stride, filter.shape[2]];
      return biased(
        tf.conv2dTranspose(x, filter, shape, stride, padding),
        bias,
      );
    },
    groupNorm,
    groupNormSilu: (x, groups, weight, bias) =>
      silu(groupNorm(x, groups, weight, bias)),
    batchNorm(x, weight, bias) {
      const { mean, variance } = tf.moments(x, [0, 1, 2]);
      return tf.batchNorm(x, mean, variance, bias, weight, 1e-5);
    },
    attention,
    imageAttention(qkv, heads) {
      const [n, height, width, c] = qkv.shape;
      const tokens = tf.reshape(qkv, [n, height * width, c]);
      const [q, k, v] = tf.split(tokens, 3, 2).map((part: any) =>
        tf.transpose(
          tf.reshape(part, [n, height * width, heads, c / 3 / heads]),
          [0, 2, 1, 3],
        )
      );
      const y = tf.transpose(attention(q, k, v), [0, 2, 1, 3]);
      return tf.reshape(y, [n, height, width, c / 3]);
    },
    upsample: (x) =>
      tf.image.resizeNearestNeighbor(x, [2 * x.shape[1], 2 * x.shape[2]]),
    concatChannels: (a, b) => tf.concat([a, b], 3),
    addPerChannel: (x, bias) =>
      tf.add(x, tf.reshape(bias, [bias.shape[0], 1, 1, bias.shape[1]])),
    flatten: (x) => tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [x.shape[0], -1]),
    unflatten: (x, channels, size) =>
      tf.transpose(
        tf.reshape(x, [x.shape[0], channels, size, size]),
        [0, 2, 3, 1],
      ),
    concat: (a, b) => tf.concat([a, b], 1),
    halves: (x) => tf.split(x, 2, 1),
    outer: (a, b) => tf.mul(tf.expandDims(a, 1), b),
    mseLoss: (x, target) => tf.losses.meanSquaredError(target, x),
    bceWithLogits: (logits, target, reduction) =>
      tf.losses.sigmoidCrossEntropy(
        typeof target === "number" ? tf.fill(logits.shape, target) : target,
        logits,
        undefined,
        0,
        reduction === "sum" ? tf.Reduction.SUM : tf.Reduction.MEAN,
      ),
    gaussianKl: (mu, logVar) =>
      tf.mul(
        tf.sum(
          tf.sub(
            tf.sub(tf.add(logVar, 1), tf.square(mu)),
            tf.exp(logVar),
          ),
        ),
        -0.5,
      ),
  };
}
