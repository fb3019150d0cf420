/**
 * What denoisers of several families do alike.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { reshape } from "../kernels/shape.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What a network asks of its inputs. */
export interface Expected {
  /** Channels of the images. */
  channels: number;
  /** Whether the images may be this high, or wide. */
  takes: (side: number) => boolean;
  /** The same in words, after "sides": what to change when it does not hold. */
  sides: string;
  /** Whether the network is conditional. */
  conditional: boolean;
}

/** Throws unless images, timesteps and classes fit a network and each other. */
export function requireInputs(
  network: string,
  x: Tensor,
  t: Tensor,
  y: Tensor | undefined,
  { channels, takes, sides, conditional }: Expected,
): void {
  requireThat(
    x.rank === 4 && x.shape[1] === channels && x.shape.slice(2).every(takes),
    network,
    `images must have ${channels} channels and sides ${sides}`,
    { x },
  );
  requireThat(
    t.rank === 1 && t.size === x.shape[0],
    network,
    "there must be a timestep per image",
    { x, t },
  );
  requireThat(
    conditional === (y !== undefined),
    network,
    conditional
      ? "a conditional network needs classes y"
      : "the network knows no classes: give it numClasses",
    { y: y ?? "missing" },
  );
  requireThat(
    y === undefined || (y.rank === 1 && y.size === x.shape[0]),
    network,
    "there must be a class per image",
    { x, y: y ?? "missing" },
  );
}

/** Adds a number per image and channel, `shift` `[N, C]`, to all pixels of `x` `[N, C, H, W]`. */
export function addPerChannel(x: Tensor, shift: Tensor): Tensor {
  return add(x, reshape(shift, [...shift.shape, 1, 1]));
}
