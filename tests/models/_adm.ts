/**
 * What tests of `AdmUNet` and `AdmClassifier` share: small forms, and the U-Net in plain loops.
 *
 * @module
 */
import {
  type AdmUNet,
  type AdmUNetOptions,
  type Module,
  Rng,
  scope,
} from "../../mod.ts";
import {
  at,
  type Image,
  image,
  joined,
  map,
  Plain,
  plus,
  silu,
  vector,
} from "./_plain.ts";

/** Two levels of 8 and 4 pixels, the first of which attends. */
export const TINY = {
  inChannels: 1,
  imageSize: 8,
  channels: 8,
  multipliers: [1, 2],
  resBlocks: 1,
  heads: 2,
  groups: 4,
} as const;

/** Half as large and wide: of itself it attends in the middle alone. */
export const TINIEST = { ...TINY, imageSize: 4, channels: 4, groups: 2 };

/** Draws all parameters anew, also those that are 0 at first, so that everything shows in the output. */
export function awake<Net extends Module>(net: Net): Net {
  const rng = new Rng(3);
  scope(() => {
    const drawn = Object.entries(net.stateDict()).map(([name, { shape }]) =>
      [name, rng.normal(shape, 0, shape.length > 1 ? 0.3 : 0.5)] as const
    );
    net.loadStateDict(Object.fromEntries(drawn));
  });
  return net;
}

/** Means of four pixels. */
function halved(x: Image): Image {
  const [c, height, width] = x.shape;
  return image(
    [c, height / 2, width / 2],
    (c, i, j) =>
      (at(x, c, 2 * i, 2 * j) + at(x, c, 2 * i, 2 * j + 1) +
        at(x, c, 2 * i + 1, 2 * j) + at(x, c, 2 * i + 1, 2 * j + 1)) / 4,
  );
}

/** Every pixel four times. */
function doubled(x: Image): Image {
  const [c, height, width] = x.shape;
  return image(
    [c, 2 * height, 2 * width],
    (c, i, j) => at(x, c, i >> 1, j >> 1),
  );
}

/** The layers of an `AdmUNet` whose norms have one group, in plain loops. */
class PlainAdm {
  readonly #plain: Plain;
  readonly #form: AdmUNetOptions & { heads: number };

  constructor(plain: Plain, form: AdmUNetOptions & { heads: number }) {
    this.#plain = plain;
    this.#form = form;
  }

  conv(x: Image, name: string): Image {
    return this.#plain.conv(x, name, { padding: 1 });
  }

  strided(x: Image, name: string): Image {
    return this.#plain.conv(x, name, { padding: 1, stride: 2 });
  }

  dense(x: Image, name: string): Image {
    return this.#plain.linear(x, `${name}.weight`, `${name}.bias`);
  }

  activated(x: Image, name: string): Image {
    return silu(this.#plain.norm(x, name, "channel"));
  }

  #sum(x: Image, branch: Image): Image {
    const factor = this.#form.rescaleResiduals ? Math.SQRT1_2 : 1;
    return map(plus(x, branch), (value) => factor * value);
  }

  /** `to`: channels of the result; `resize`: halves, doubles, or returns what it is given. */
  res(
    x: Image,
    e: Image,
    name: string,
    to: number,
    resize = (x: Image) => x,
  ): Image {
    let h = resize(this.activated(x, `${name}.in_layers.0`));
    h = this.conv(h, `${name}.in_layers.2`);
    const code = this.dense(e, `${name}.emb_layers.1`);
    if (this.#form.adaptiveGroupNorm ?? true) {
      h = this.#plain.norm(h, `${name}.out_layers.0`, "channel");
      h = map(
        h,
        (value, c) => value * (1 + at(code, c, 0, 0)) + at(code, to + c, 0, 0),
      );
      h = silu(h);
    } else h = this.activated(plus(h, code), `${name}.out_layers.0`);
    const skipped = to === x.shape[0]
      ? resize(x)
      : this.#plain.conv(x, `${name}.skip_connection`);
    return this.#sum(skipped, this.conv(h, `${name}.out_layers.3`));
  }

  attention(x: Image, name: string): Image {
    const { heads, attentionOrder } = this.#form;
    const [c, height, width] = x.shape;
    const size = c / heads, count = height * width;
    const normed = this.#plain.norm(x, `${name}.norm`, "channel");
    const { data } = this.#plain.conv(normed, `${name}.qkv`);
    /** Queries are 0, keys 1, values 2. */
    const value = (which: number, head: number, k: number, pixel: number) => {
      const run = attentionOrder === "new"
        ? which * heads + head
        : head * 3 + which;
      return data[(run * size + k) * count + pixel]!;
    };
    const mixed = image(x.shape, (channel, i, j) => {
      const head = Math.floor(channel / size);
      let total = 0, sum = 0;
      for (let s = 0; s < count; s++) {
        let dot = 0;
        for (let k = 0; k < size; k++) {
          dot += value(0, head, k, i * width + j) * value(1, head, k, s);
        }
        const weight = Math.exp(dot / Math.sqrt(size));
        total += weight;
        sum += weight * value(2, head, channel % size, s);
      }
      return sum / total;
    });
    return this.#sum(x, this.#plain.conv(mixed, `${name}.proj_out`));
  }

  /** The activated embedding. */
  embedding(t: number, y: number | undefined, channels: number): Image {
    const half = channels / 2;
    const angles = Array.from(
      { length: half },
      (_, j) => t * 10000 ** (-j / half),
    );
    const code = vector([...angles.map(Math.cos), ...angles.map(Math.sin)]);
    const e = this.dense(
      silu(this.dense(code, "time_embed.0")),
      "time_embed.2",
    );
    return silu(
      y === undefined ? e : plus(e, this.#plain.row("label_emb.weight", y)),
    );
  }
}

/**
 * An `AdmUNet` in float64 and plain loops: of two levels, of which the second attends, one residual
 * block to each, and one group in all norms.
 */
export async function plainUNet(
  net: AdmUNet,
  form: AdmUNetOptions & { channels: number; heads: number },
): Promise<(x: Image, t: number, y?: number) => Image> {
  const of = new PlainAdm(await Plain.of(net), form);
  const { channels, updown } = form;
  const wide = 2 * channels;
  return (x, t, y) => {
    const e = of.embedding(t, y, channels);
    const first = of.conv(x, "input_blocks.0.0");
    const full = of.res(first, e, "input_blocks.1.0", channels);
    const less = updown === "resBlock"
      ? of.res(full, e, "input_blocks.2.0", channels, halved)
      : updown === "plain"
      ? halved(full)
      : of.strided(full, "input_blocks.2.0.op");
    const small = of.attention(
      of.res(less, e, "input_blocks.3.0", wide),
      "input_blocks.3.1",
    );
    let h = of.res(small, e, "middle_block.0", wide);
    h = of.attention(h, "middle_block.1");
    h = of.res(h, e, "middle_block.2", wide);
    h = of.res(joined(h, small), e, "output_blocks.0.0", wide);
    h = of.attention(h, "output_blocks.0.1");
    h = of.res(joined(h, less), e, "output_blocks.1.0", wide);
    h = of.attention(h, "output_blocks.1.1");
    h = updown === "resBlock"
      ? of.res(h, e, "output_blocks.1.2", wide, doubled)
      : updown === "plain"
      ? doubled(h)
      : of.conv(doubled(h), "output_blocks.1.2.conv");
    h = of.res(joined(h, full), e, "output_blocks.2.0", channels);
    h = of.res(joined(h, first), e, "output_blocks.3.0", channels);
    return of.conv(of.activated(h, "out.0"), "out.2");
  };
}
