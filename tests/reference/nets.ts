/**
 * Cases of the group `nets`: whole networks, built of our layers with the sizes of the saved weights.
 *
 * @module
 */
import * as d from "../../mod.ts";
import type { Tensor } from "../../mod.ts";
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

/** Two convolutions with normalisation over all channels; residual if it keeps the width. */
class DoubleConv extends Module {
  readonly double_conv: d.Sequential;
  readonly #residual: boolean;

  constructor(
    from: number,
    to: number,
    options: { middle?: number; residual?: boolean } = {},
  ) {
    super();
    const { middle = to, residual = false } = options;
    const same = { padding: 1, bias: false };
    this.double_conv = new Sequential(
      new Conv2d(from, middle, 3, rng, same),
      new d.GroupNorm(1, middle),
      (x) => d.gelu(x),
      new Conv2d(middle, to, 3, rng, same),
      new d.GroupNorm(1, to),
    );
    this.#residual = residual;
  }

  forward(x: Tensor): Tensor {
    const h = this.double_conv.forward(x);
    return this.#residual ? d.gelu(d.add(x, h)) : h;
  }
}

function shifted(x: Tensor, layer: d.Sequential, e: Tensor): Tensor {
  const shift = layer.forward(e);
  return d.add(x, d.reshape(shift, [...shift.shape, 1, 1]));
}

class Down extends Module {
  readonly maxpool_conv: d.Sequential;
  readonly emb_layer: d.Sequential;

  constructor(from: number, to: number, embedding: number) {
    super();
    this.maxpool_conv = new Sequential(
      (x) => d.maxPool2d(x, 2),
      new DoubleConv(from, from, { residual: true }),
      new DoubleConv(from, to),
    );
    this.emb_layer = new Sequential(d.silu, new Linear(embedding, to, rng));
  }

  forward(x: Tensor, e: Tensor): Tensor {
    return shifted(this.maxpool_conv.forward(x), this.emb_layer, e);
  }
}

class Up extends Module {
  readonly conv: d.Sequential;
  readonly emb_layer: d.Sequential;

  constructor(from: number, to: number, embedding: number) {
    super();
    this.conv = new Sequential(
      new DoubleConv(from, from, { residual: true }),
      new DoubleConv(from, to, { middle: Math.floor(from / 2) }),
    );
    this.emb_layer = new Sequential(d.silu, new Linear(embedding, to, rng));
  }

  forward(x: Tensor, skip: Tensor, e: Tensor): Tensor {
    const [h, w] = x.shape.slice(2) as [number, number];
    const large = d.upsampleBilinear(x, [2 * h, 2 * w], { alignCorners: true });
    const joined = d.concat([skip, large], 1);
    return shifted(this.conv.forward(joined), this.emb_layer, e);
  }
}

class SelfAttention extends Module {
  readonly mha: d.MultiheadAttention;
  readonly ln: d.LayerNorm;
  readonly ff_self: d.Sequential;

  constructor(channels: number, heads: number) {
    super();
    this.mha = new d.MultiheadAttention(channels, heads, rng);
    this.ln = new d.LayerNorm(channels);
    this.ff_self = new Sequential(
      new d.LayerNorm(channels),
      new Linear(channels, channels, rng),
      (x) => d.gelu(x),
      new Linear(channels, channels, rng),
    );
  }

  forward(x: Tensor): Tensor {
    const tokens = d.transpose(d.flatten(x, 2), 1, 2); // [N, C, H, W] to [N, H·W, C]
    const a = d.add(this.mha.forward(this.ln.forward(tokens)), tokens);
    const b = d.add(this.ff_self.forward(a), a);
    return d.reshape(d.transpose(b, 1, 2), x.shape);
  }
}

class DomeUNet extends Module {
  readonly label_emb?: d.Embedding;
  readonly inc: DoubleConv;
  readonly down1: Down;
  readonly sa1: SelfAttention;
  readonly down2: Down;
  readonly sa2: SelfAttention;
  readonly down3: Down;
  readonly sa3: SelfAttention;
  readonly bot1: DoubleConv;
  readonly bot2: DoubleConv;
  readonly bot3: DoubleConv;
  readonly up1: Up;
  readonly sa4: SelfAttention;
  readonly up2: Up;
  readonly sa5: SelfAttention;
  readonly up3: Up;
  readonly sa6: SelfAttention;
  readonly outc: d.Conv2d;
  readonly #timeDim: number;

  constructor(shape: Shape, attrs: Case["attrs"]) {
    super();
    const { base: b, time_dim: time, channels, heads, num_classes } = attrs;
    if (num_classes > 0) {
      this.label_emb = new d.Embedding(
        shape("label_emb.weight")[0]!,
        time,
        rng,
      );
    }
    this.inc = new DoubleConv(channels, b);
    this.down1 = new Down(b, 2 * b, time);
    this.sa1 = new SelfAttention(2 * b, heads);
    this.down2 = new Down(2 * b, 4 * b, time);
    this.sa2 = new SelfAttention(4 * b, heads);
    this.down3 = new Down(4 * b, 4 * b, time);
    this.sa3 = new SelfAttention(4 * b, heads);
    this.bot1 = new DoubleConv(4 * b, 8 * b);
    this.bot2 = new DoubleConv(8 * b, 8 * b);
    this.bot3 = new DoubleConv(8 * b, 4 * b);
    this.up1 = new Up(8 * b, 2 * b, time);
    this.sa4 = new SelfAttention(2 * b, heads);
    this.up2 = new Up(4 * b, b, time);
    this.sa5 = new SelfAttention(b, heads);
    this.up3 = new Up(2 * b, b, time);
    this.sa6 = new SelfAttention(b, heads);
    this.outc = new Conv2d(b, channels, 1, rng);
    this.#timeDim = time;
  }

  forward(x: Tensor, t: ArrayLike<number>, y?: Tensor): Tensor {
    let e = sinusoids(t, this.#timeDim);
    if (this.label_emb) e = d.add(e, this.label_emb.forward(y!));
    const x1 = this.inc.forward(x);
    const x2 = this.sa1.forward(this.down1.forward(x1, e));
    const x3 = this.sa2.forward(this.down2.forward(x2, e));
    let h = this.sa3.forward(this.down3.forward(x3, e));
    for (const bottom of [this.bot1, this.bot2, this.bot3]) {
      h = bottom.forward(h);
    }
    h = this.sa4.forward(this.up1.forward(h, x3, e));
    h = this.sa5.forward(this.up2.forward(h, x2, e));
    h = this.sa6.forward(this.up3.forward(h, x1, e));
    return this.outc.forward(h);
  }
}

/** `[sin(t f), cos(t f)]` with `f_j = 10000^(-2j / size)`, in doubles. */
function sinusoids(t: ArrayLike<number>, size: number): Tensor {
  const rows = Array.from(t, (time) => {
    const angles = Array.from(
      { length: size / 2 },
      (_, j) => time * 10000 ** (-2 * j / size),
    );
    return [...angles.map(Math.sin), ...angles.map(Math.cos)];
  });
  return d.tensor(rows);
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
      const net = build(new DomeUNet(shape, attrs), one, arrays);
      const t = one.inputs.find((name) => roleOf(name) === "t")!;
      return denoised(net, net.forward(i.x!, arrayOf(arrays, t).data, i.y));
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
