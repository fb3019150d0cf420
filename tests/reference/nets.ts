/**
 * Cases of the group `nets`: whole networks, built of our layers with the sizes of the saved weights.
 *
 * @module
 */
import * as d from "../../mod.ts";
import type { Tensor } from "../../mod.ts";
import { DomeUNet } from "../../models/dome_unet.ts";
import { UNet } from "../../models/unet.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  inputsOf,
  roleOf,
  type Values,
} from "./case.ts";

const { Conv2d, ConvTranspose2d, Linear, Module, Rng, Sequential } = d;

/** Initial weights do not matter: all are overwritten. */
const rng = new Rng(0);

type Shape = (name: string) => readonly number[];

/** A linear layer of the size of a saved weight. */
function linear(shape: Shape, name: string): d.Linear {
  const [to, from] = shape(`${name}.weight`) as [number, number];
  return new Linear(from, to, rng);
}

/** Reconstruction and divergence of a VAE, summed over the batch, and what follows from them. */
function elbo(
  x: Tensor,
  eps: Tensor,
  mu: Tensor,
  logvar: Tensor,
  decode: (z: Tensor) => Tensor,
  beta: number,
) {
  const z = d.add(mu, d.mul(d.exp(d.scale(logvar, 0.5)), eps));
  const logits = decode(z);
  const recon = d.bceWithLogits(logits, x, { reduction: "sum" });
  const kl = d.gaussianKl(mu, logvar, { reduction: "sum" });
  const perImage = 1 / x.shape[0]!;
  return {
    mu,
    logvar,
    z,
    logits,
    recon_bce_sum: recon,
    kl_sum: kl,
    elbo: d.scale(d.add(recon, kl), -perImage),
    loss: d.scale(d.add(recon, d.scale(kl, beta)), perImage),
  };
}

class MlpVae extends Module {
  readonly fc1: d.Linear;
  readonly fc2: d.Linear;
  readonly fc_mu: d.Linear;
  readonly fc_logvar: d.Linear;
  readonly dec1: d.Linear;
  readonly dec2: d.Linear;
  readonly dec3: d.Linear;

  constructor(shape: Shape) {
    super();
    this.fc1 = linear(shape, "fc1");
    this.fc2 = linear(shape, "fc2");
    this.fc_mu = linear(shape, "fc_mu");
    this.fc_logvar = linear(shape, "fc_logvar");
    this.dec1 = linear(shape, "dec1");
    this.dec2 = linear(shape, "dec2");
    this.dec3 = linear(shape, "dec3");
  }

  forward(x: Tensor, eps: Tensor) {
    const h = d.relu(this.fc2.forward(d.relu(this.fc1.forward(x))));
    const decode = (z: Tensor) =>
      this.dec3.forward(
        d.relu(this.dec2.forward(d.relu(this.dec1.forward(z)))),
      );
    const mu = this.fc_mu.forward(h), logvar = this.fc_logvar.forward(h);
    return elbo(x, eps, mu, logvar, decode, 1);
  }
}

const HALVE = { stride: 2, padding: 1 };

class ConvVae extends Module {
  readonly enc1: d.Conv2d;
  readonly enc2: d.Conv2d;
  readonly fc: d.Linear;
  readonly fc_mu: d.Linear;
  readonly fc_logvar: d.Linear;
  readonly dec_fc: d.Linear;
  readonly dec1: d.ConvTranspose2d;
  readonly dec2: d.ConvTranspose2d;
  readonly #beta: number;

  constructor(shape: Shape, { channels: c, beta }: Case["attrs"]) {
    super();
    const colours = shape("enc1.weight")[1]!;
    this.enc1 = new Conv2d(colours, c, 4, rng, HALVE);
    this.enc2 = new Conv2d(c, 2 * c, 4, rng, HALVE);
    this.fc = linear(shape, "fc");
    this.fc_mu = linear(shape, "fc_mu");
    this.fc_logvar = linear(shape, "fc_logvar");
    this.dec_fc = linear(shape, "dec_fc");
    this.dec1 = new ConvTranspose2d(2 * c, c, 4, rng, HALVE);
    this.dec2 = new ConvTranspose2d(c, colours, 4, rng, HALVE);
    this.#beta = beta;
  }

  forward(x: Tensor, eps: Tensor) {
    const small = d.relu(this.enc2.forward(d.relu(this.enc1.forward(x))));
    const h = d.relu(this.fc.forward(d.flatten(small, 1)));
    const decode = (z: Tensor) => {
      const image = d.reshape(d.relu(this.dec_fc.forward(z)), small.shape);
      return this.dec2.forward(d.relu(this.dec1.forward(image)));
    };
    const mu = this.fc_mu.forward(h), logvar = this.fc_logvar.forward(h);
    return elbo(x, eps, mu, logvar, decode, this.#beta);
  }
}

/** Widths of the generator between z and the image, from the image backwards: f, 2f, … */
function widths(size: number, f: number): number[] {
  return size === 28 ? [f, 2 * f] : [f, 2 * f, 4 * f];
}

class Generator extends Module {
  readonly main: d.Sequential;

  constructor({ size, z, features, channels }: Case["attrs"]) {
    super();
    const [first, ...rest] = widths(size, features).toReversed() as [number];
    const up = { ...HALVE, bias: false };
    const head = size === 28 ? 7 : 4;
    const layers: d.Layer[] = [
      new ConvTranspose2d(z, first, head, rng, { bias: false }),
    ];
    let width = first;
    for (const next of [...rest, channels] as number[]) {
      layers.push(new d.BatchNorm2d(width), d.relu);
      layers.push(new ConvTranspose2d(width, next, 4, rng, up));
      width = next;
    }
    this.main = new Sequential(...layers, d.tanh);
  }

  forward(z: Tensor): Tensor {
    return this.main.forward(z, { training: true });
  }
}

class Discriminator extends Module {
  readonly main: d.Sequential;

  constructor({ size, features, channels }: Case["attrs"]) {
    super();
    const leaky = (x: Tensor) => d.leakyRelu(x, 0.2);
    const down = { ...HALVE, bias: false };
    const [first, ...rest] = widths(size, features) as [number, ...number[]];
    const layers: d.Layer[] = [
      new Conv2d(channels, first, 4, rng, down),
      leaky,
    ];
    let width = first;
    for (const next of rest) {
      layers.push(new Conv2d(width, next, 4, rng, down));
      layers.push(new d.BatchNorm2d(next), leaky);
      width = next;
    }
    const last = size === 28 ? 7 : 4;
    layers.push(new Conv2d(width, 1, last, rng, { bias: false }));
    this.main = new Sequential(...layers);
  }

  /** One logit per image. */
  forward(x: Tensor): Tensor {
    return d.flatten(this.main.forward(x, { training: true }), 0);
  }
}

class Dcgan extends Module {
  readonly G: Generator;
  readonly D: Discriminator;

  constructor(attrs: Case["attrs"]) {
    super();
    this.G = new Generator(attrs);
    this.D = new Discriminator(attrs);
  }
}

class LeNet extends Module {
  readonly conv1: d.Conv2d;
  readonly conv2: d.Conv2d;
  readonly fc1: d.Linear;
  readonly fc2: d.Linear;
  readonly fc3: d.Linear;

  constructor(shape: Shape) {
    super();
    const [c1, colours] = shape("conv1.weight") as [number, number];
    this.conv1 = new Conv2d(colours, c1, 5, rng, { padding: 2 });
    this.conv2 = new Conv2d(c1, shape("conv2.weight")[0]!, 5, rng);
    this.fc1 = linear(shape, "fc1");
    this.fc2 = linear(shape, "fc2");
    this.fc3 = linear(shape, "fc3");
  }

  forward(x: Tensor): Tensor {
    let h = d.maxPool2d(d.relu(this.conv1.forward(x)), 2);
    h = d.maxPool2d(d.relu(this.conv2.forward(h)), 2);
    h = d.relu(this.fc1.forward(d.flatten(h, 1)));
    return this.fc3.forward(d.relu(this.fc2.forward(h)));
  }
}

/** Builds the network of a case with its weights. */
function build<Net extends d.Module>(net: Net, one: Case, arrays: Arrays): Net {
  net.loadStateDict(
    Object.fromEntries(
      Object.entries(one.params!).map((
        [name, tensor],
      ) => [name, arrayOf(arrays, tensor)]),
    ),
  );
  return net;
}

/** What a net computes: outputs by role, and which loss each parameter is differentiated by. */
interface Computed {
  net: d.Module;
  outputs: Record<string, Tensor>;
  lossOf: (parameter: string) => Tensor;
}

function compute(one: Case, arrays: Arrays): Computed {
  const shape: Shape = (name) => arrayOf(arrays, one.params![name]!).shape;
  const { attrs } = one;
  const i = inputsOf(one, arrays);
  const simple = (
    net: d.Module,
    outputs: Record<string, Tensor>,
  ): Computed => ({
    net,
    outputs,
    lossOf: () => outputs.loss!,
  });
  const denoised = (net: d.Module, out: Tensor) =>
    simple(net, { out, loss: d.mseLoss(out, i.target!) });
  switch (one.op) {
    case "mlp_vae": {
      const net = build(new MlpVae(shape), one, arrays);
      return simple(net, net.forward(i.x!, i.eps!));
    }
    case "conv_vae": {
      const net = build(new ConvVae(shape, attrs), one, arrays);
      return simple(net, net.forward(i.x!, i.eps!));
    }
    case "dcgan":
      return dcgan(build(new Dcgan(attrs), one, arrays), i.z!, i.real!);
    case "lenet": {
      if (attrs.activation !== "relu" || attrs.pool !== "max 2x2") {
        throw new Error(`There is no ${attrs.activation}, ${attrs.pool} lenet`);
      }
      const net = build(new LeNet(shape), one, arrays);
      const logits = net.forward(i.x!);
      return simple(net, { logits, loss: d.crossEntropy(logits, i.y!) });
    }
    case "unet_dome": {
      const { base: b, time_dim: timeDim, channels, heads } = attrs;
      const variant = {
        inc: b,
        down: [2 * b, 4 * b, 4 * b],
        bot: [8 * b, 8 * b, 4 * b],
        up: [2 * b, b, b],
      };
      const net = build(
        new DomeUNet({
          inChannels: channels,
          variant,
          timeDim,
          heads,
          numClasses: i.y && shape("label_emb.weight")[0],
        }, rng),
        one,
        arrays,
      );
      const t = d.cast(i.t!, "f32");
      return denoised(net, net.forward(i.x!, t, { y: i.y }));
    }
    case "unet_ddpm": {
      const net = build(
        new UNet({
          inChannels: attrs.channels,
          channels: attrs.ch,
          multipliers: attrs.mult,
          resBlocks: attrs.num_res_blocks,
          attentionLevels: attrs.attention_levels,
          groups: attrs.groups,
          numClasses: attrs.num_classes && attrs.num_classes + 1,
        }, rng),
        one,
        arrays,
      );
      const t = d.cast(i.t!, "f32");
      return denoised(net, net.forward(i.x!, t, { y: i.y }));
    }
    default:
      throw new Error(`There is no runner for ${one.op}`);
  }
}

/** One round of a GAN, in the order in which the running statistics were made. */
function dcgan(net: Dcgan, z: Tensor, real: Tensor): Computed {
  const against = (logits: Tensor, label: number) =>
    d.bceWithLogits(logits, d.full(logits.shape, label));
  const fake = net.G.forward(z);
  const d_real = net.D.forward(real);
  const d_fake = net.D.forward(fake.detach());
  const loss_d_real = against(d_real, 0.9);
  const loss_d_fake = against(d_fake, 0);
  const loss_d = d.add(loss_d_real, loss_d_fake);
  const d_fake_for_g = net.D.forward(fake);
  const loss_g = against(d_fake_for_g, 1);
  const after = Object.fromEntries(
    Object.entries(net.namedBuffers())
      .map(([name, buffer]) => [`after.${name}`, buffer]),
  );
  return {
    net,
    outputs: {
      fake,
      d_real,
      d_fake,
      d_fake_for_g,
      loss_d_real,
      loss_d_fake,
      loss_d,
      loss_g,
      ...after,
    },
    lossOf: (parameter) => parameter.startsWith("D.") ? loss_d : loss_g,
  };
}

/** Runs a network forward and backward. */
export function runNet(one: Case, arrays: Arrays): Values {
  const { net, outputs, lossOf } = compute(one, arrays);
  const values: Values = Object.fromEntries(
    one.outputs.filter((name) => roleOf(name) in outputs)
      .map((name) => [name, outputs[roleOf(name)]!]),
  );
  const named = net.namedParameters();
  const byLoss = Map.groupBy(
    Object.entries(one.grads),
    ([parameter]) => lossOf(roleOf(parameter)),
  );
  for (const [loss, pairs] of byLoss) {
    const leaves = pairs.map(([parameter]) => named[roleOf(parameter)]!);
    d.gradients(loss, leaves).forEach((gradient, i) => {
      values[pairs[i]![1]] = gradient;
    });
  }
  return values;
}
