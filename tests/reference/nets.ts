/**
 * Cases of the group `nets`: whole networks, with the sizes of the saved weights.
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

/** Initial weights do not matter: all are overwritten. */
const rng = new d.Rng(0);

type Shape = (name: string) => readonly number[];

/** The bound of a VAE for a given noise, with the names of the case. */
function bound(
  net: d.VaeNetwork,
  { x, eps }: Readonly<Record<string, Tensor>>,
  beta: number,
): Record<string, Tensor> {
  const images = d.reshape(x!, [-1, ...net.shape]);
  const posterior = net.encode(images);
  const { mean: mu, logVariance: logvar } = posterior;
  const z = d.add(mu, d.mul(d.exp(d.scale(logvar, 0.5)), eps!));
  const logits = net.decode(z);
  const { reconstruction, kl, elbo } = d.elboTerms(
    new d.BernoulliLikelihood(),
    d.scale(images, 2, -1), // which are in [0, 1]
    posterior,
    logits,
  );
  return {
    mu,
    logvar,
    z,
    logits: d.reshape(logits, x!.shape),
    recon_bce_sum: d.sum(reconstruction),
    kl_sum: d.sum(kl),
    elbo: d.mean(elbo),
    loss: d.mean(d.add(reconstruction, d.scale(kl, beta))),
  };
}

/** Builds the network of a case with its weights, whose names may differ from the network's. */
function build<Net extends d.Module>(
  net: Net,
  one: Case,
  arrays: Arrays,
  ownName: (name: string) => string = (name) => name,
): Net {
  net.loadStateDict(
    Object.fromEntries(
      Object.entries(one.params!).map((
        [name, tensor],
      ) => [ownName(name), arrayOf(arrays, tensor)]),
    ),
  );
  return net;
}

/** What a net computes: outputs by role, and which loss each parameter is differentiated by. */
interface Computed {
  net: d.Module;
  outputs: Record<string, Tensor>;
  lossOf: (parameter: string) => Tensor;
  /** What the net calls a parameter of the case, if they differ. */
  ownName?: (parameter: string) => string;
}

/** The layers of `mlp_vae` in a `Vae`. */
function denseName(name: string): string {
  return name
    .replace(/^fc(\d)/, (_, k) => `encoder.${k - 1}.linear`)
    .replace(/^dec([12])/, (_, k) => `decoder.${k - 1}.linear`)
    .replace(/^dec3/, "out");
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
      const hidden = ["fc1.weight", "fc2.weight"].map((w) => shape(w)[0]!);
      const image = [1, 1, shape("fc1.weight")[1]!] as const;
      const options = { shape: image, latent: attrs.latent, hidden };
      const net = build(new d.Vae(options, rng), one, arrays, denseName);
      return { ...simple(net, bound(net, i, 1)), ownName: denseName };
    }
    case "conv_vae": {
      const { channels, hidden, latent } = attrs;
      const image = i.x!.shape.slice(1) as [number, number, number];
      const options = {
        shape: image,
        channels,
        hidden,
        decoderHidden: 0,
        latent,
      };
      const net = build(new d.ConvVae(options, rng), one, arrays);
      return simple(net, bound(net, i, attrs.beta));
    }
    case "dcgan": {
      const { size, z: latent, features: f, channels: inChannels } = attrs;
      const discriminatorChannels = size === 28
        ? [f, 2 * f]
        : [f, 2 * f, 4 * f];
      const generatorChannels = discriminatorChannels.toReversed();
      const options = {
        ...{ size, inChannels, latent },
        ...{ generatorChannels, discriminatorChannels },
      };
      const net = build(new d.Dcgan(options, rng), one, arrays);
      return dcgan(net, d.flatten(i.z!, 1), i.real!);
    }
    case "lenet": {
      if (attrs.activation !== "relu" || attrs.pool !== "max 2x2") {
        throw new Error(`There is no ${attrs.activation}, ${attrs.pool} lenet`);
      }
      const net = build(new d.LeNet5({}, rng), one, arrays);
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
function dcgan(net: d.Dcgan, z: Tensor, real: Tensor): Computed {
  const against = (logits: Tensor, label: number) =>
    d.bceWithLogits(logits, d.full(logits.shape, label));
  const loss = d.nonSaturatingLoss({ real: 0.9 });
  const inputs = { training: true };
  const fake = net.G.forward(z, inputs);
  const d_real = net.D.forward(real, inputs);
  const d_fake = net.D.forward(fake.detach(), inputs);
  const loss_d = loss.discriminator(d_real, d_fake);
  const d_fake_for_g = net.D.forward(fake, inputs);
  const loss_g = loss.generator(d_fake_for_g);
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
      loss_d_real: against(d_real, 0.9),
      loss_d_fake: against(d_fake, 0),
      loss_d,
      loss_g,
      ...after,
    },
    lossOf: (parameter) => parameter.startsWith("D.") ? loss_d : loss_g,
  };
}

/** Runs a network forward and backward. */
export function runNet(one: Case, arrays: Arrays): Values {
  const { net, outputs, lossOf, ownName = (name) => name } = compute(
    one,
    arrays,
  );
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
    const leaves = pairs.map(([parameter]) =>
      named[ownName(roleOf(parameter))]!
    );
    d.gradients(loss, leaves).forEach((gradient, i) => {
      values[pairs[i]![1]] = gradient;
    });
  }
  return values;
}
