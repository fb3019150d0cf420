/**
 * jax-js on WebGPU, as the benchmark asks for it: every run, and a whole training step with its
 * gradients and Adam, is one function under `jit`.
 *
 * jax-js frees an array when its last reference is passed on. Under `jit` the arrays are only names,
 * so every operation here passes `.ref` and nothing has to be counted.
 *
 * The package is imported by a computed name and typed loosely, so that neither a user of the library
 * nor a type check downloads it.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any
import type { Library, Weights } from "../library.ts";

const VERSION = "0.1.25";

/** Opens jax-js on its WebGPU device. */
export async function openJaxJs(): Promise<Library<any>> {
  const jax: any = await import(`npm:@jax-js/jax@${VERSION}`);
  const { numpy: np, nn, lax, jit, grad, valueAndGrad, tree } = jax;
  if (!(await jax.init("webgpu")).includes("webgpu")) {
    throw new Error("jax-js did not open its WebGPU device");
  }
  jax.defaultDevice("webgpu");

  const mean = (x: any, axis?: number[]) =>
    np.mean(x.ref, axis ?? null, { keepdims: axis !== undefined });
  const square = (x: any) => x.ref.mul(x.ref);
  const perChannel = (x: any) => x.ref.reshape([1, x.shape[0], 1, 1]);
  const biased = (y: any, bias: any) =>
    bias === null ? y : y.add(perChannel(bias));
  /** (x - mean) / sqrt(variance + 1e-5) over axes, in two passes. */
  const standardize = (x: any, axes: number[]) => {
    const centred = x.sub(mean(x, axes));
    const variance = mean(square(centred), axes);
    return centred.ref.div(np.sqrt(variance.add(1e-5)));
  };
  const attention = (q: any, k: any, v: any) => {
    const scores = np.matmul(q.ref, np.matrixTranspose(k.ref));
    const weights = nn.softmax(scores.mul(1 / Math.sqrt(q.shape[3])), -1);
    return np.matmul(weights, v.ref);
  };
  const groupNorm = (x: any, groups: number, weight: any, bias: any) => {
    const [n, c, height, width] = x.shape;
    const grouped = x.ref.reshape([n, groups, c / groups, height * width]);
    const unit = standardize(grouped, [2, 3]).reshape(x.shape);
    return unit.mul(perChannel(weight)).add(perChannel(bias));
  };
  // What is freed before it was submitted is never computed. So the first number of each result goes
  // into a sum, which the next wait asks for.
  const touch = jit((sum: any, xs: any[]) =>
    xs.reduce((sum, x) => sum.add(x.ravel().slice(0)), sum)
  );
  let touched = np.array(0);
  return {
    name: `jax-js-${VERSION}`,
    adapter: jax.getWebGPUDevice().adapterInfo.description,
    tensor: (data, shape) => np.array(data).reshape([...shape]),
    read: (x) => x.ref.data(),
    async wait(results) {
      await jax.blockUntilReady([...results, touched]);
    },
    free(tensors) {
      touched = touch(touched, tensors);
    },
    compile(f, inputs) {
      const compiled = jit((...xs: any[]) => f(...xs));
      return () => compiled(...inputs.map((x) => x.ref));
    },
    compileNetwork(f, inputs) {
      const compiled = jit((...xs: any[]) => f(...xs));
      return () => [compiled(...inputs.map((x) => x.ref))];
    },
    gradients: (f, xs) =>
      grad((list: any[]) => f(...list))(xs.map((x) => x.ref)),
    train({ networks, inputs, adam: { learningRate, betas }, step }) {
      const [beta1, beta2] = betas;
      const zeros = (weights: Weights<any>) =>
        Object.fromEntries(
          Object.entries(weights).map(([name, x]) => [name, np.zeros(x.shape)]),
        );
      const initial = (weights: Weights<any>) => ({
        weights,
        m: zeros(weights),
        v: zeros(weights),
        power1: np.array([1]),
        power2: np.array([1]),
      });
      const advance = jit((states: any[], inputs: any[]) => {
        states = [...states];
        const update = (i: number, f: (weights: Weights<any>) => any) => {
          const { weights, m, v, power1, power2 } = states[i];
          const [loss, gradients] = valueAndGrad(f)(tree.ref(weights));
          const next: any = {
            weights: {},
            m: {},
            v: {},
            power1: power1.ref.mul(beta1),
            power2: power2.ref.mul(beta2),
          };
          for (const name of Object.keys(weights)) {
            const g = gradients[name];
            next.m[name] = m[name].ref.mul(beta1).add(g.ref.mul(1 - beta1));
            next.v[name] = v[name].ref.mul(beta2).add(square(g).mul(1 - beta2));
            const unit = (x: any, power: any) =>
              x.ref.div(np.subtract(1, power.ref));
            const change = unit(next.m[name], next.power1).div(
              np.sqrt(unit(next.v[name], next.power2)).add(1e-8),
            );
            next.weights[name] = weights[name].ref.sub(
              change.mul(learningRate),
            );
          }
          states[i] = next;
          return loss;
        };
        const loss = step((i) => states[i].weights, update, ...inputs);
        return [loss, states];
      });
      let states = networks.map(initial);
      return () => {
        const [loss, next] = advance(states, tree.ref(inputs));
        states = next;
        return loss;
      };
    },
    constant: (f) => f(),
    add: (a, b) => a.ref.add(b.ref ?? b),
    mulAdd: (a, b, c) => a.ref.mul(b.ref).add(c.ref),
    mul: (a, b) => a.ref.mul(b.ref ?? b),
    exp: (x) => np.exp(x.ref),
    sin: (x) => np.sin(x.ref),
    cos: (x) => np.cos(x.ref),
    tanh: (x) => np.tanh(x.ref),
    relu: (x) => nn.relu(x.ref),
    leakyRelu: (x, slope) => nn.leakyRelu(x.ref, slope),
    silu: (x) => nn.silu(x.ref),
    sum: (x) => np.sum(x.ref),
    softmax: (x) => nn.softmax(x.ref, -1),
    matmul: (a, b) => np.matmul(a.ref, b.ref),
    linear: (x, weight, bias) =>
      np.matmul(x.ref, np.matrixTranspose(weight.ref)).add(bias.ref),
    conv2d: (x, weight, bias, { stride, padding }) =>
      biased(
        lax.convGeneralDilated(x.ref, weight.ref, [stride, stride], [
          [padding, padding],
          [padding, padding],
        ]),
        bias,
      ),
    convTranspose2d: (x, weight, bias, { stride, padding }) =>
      biased(
        lax.convTranspose(x.ref, weight.ref, [stride, stride], [
          [padding, padding],
          [padding, padding],
        ], { transposeKernel: true }),
        bias,
      ),
    groupNorm,
    groupNormSilu: (x, groups, weight, bias) =>
      nn.silu(groupNorm(x, groups, weight, bias)),
    batchNorm: (x, weight, bias) =>
      standardize(x.ref, [0, 2, 3]).mul(perChannel(weight)).add(
        perChannel(bias),
      ),
    attention,
    imageAttention(qkv, heads) {
      const [n, c, height, width] = qkv.shape;
      const [q, k, v] = np.split(qkv.ref, 3, 1).map((part: any) =>
        np.matrixTranspose(
          part.reshape([n, heads, c / 3 / heads, height * width]),
        )
      );
      const y = np.matrixTranspose(attention(q, k, v));
      return y.reshape([n, c / 3, height, width]);
    },
    upsample(x) {
      const [n, c, height, width] = x.shape;
      return np.broadcastTo(
        x.ref.reshape([n, c, height, 1, width, 1]),
        [n, c, height, 2, width, 2],
      ).reshape([n, c, 2 * height, 2 * width]);
    },
    concatChannels: (a, b) => np.concatenate([a.ref, b.ref], 1),
    addPerChannel: (x, bias) =>
      x.ref.add(bias.ref.reshape([...bias.shape, 1, 1])),
    flatten: (x) => x.ref.reshape([x.shape[0], -1]),
    unflatten: (x, channels, size) =>
      x.ref.reshape([x.shape[0], channels, size, size]),
    concat: (a, b) => np.concatenate([a.ref, b.ref], 1),
    halves: (x) => np.split(x.ref, 2, 1),
    outer: (a, b) => a.ref.reshape([-1, 1]).mul(b.ref),
    mseLoss: (x, target) => mean(square(x.ref.sub(target.ref))),
    bceWithLogits: (logits, target, reduction) => {
      const losses = nn.softplus(logits.ref).sub(
        logits.ref.mul(typeof target === "number" ? target : target.ref),
      );
      return reduction === "sum" ? np.sum(losses) : mean(losses);
    },
    gaussianKl: (mu, logVar) =>
      np.sum(
        logVar.ref.add(1).sub(square(mu)).sub(np.exp(logVar.ref)),
      ).mul(-0.5),
  };
}
