/**
 * Where a convolution is cut if its weight or its images exceed one binding.
 *
 * @module
 */
import { fits, type Span, spansOf } from "./_pieces.ts";

/** Images, and the channels of the small ones and of the large ones that belong together. */
export interface Piece {
  readonly images: Span;
  readonly small: Span;
  readonly large: Span;
}

/** What is cut: the images, the channels of the small ones or of the large ones, or both by groups. */
export interface Cut {
  readonly by: "images" | "groups" | "small" | "large";
  readonly pieces: readonly Piece[];
}

/**
 * How the products of such shapes are cut, or null if that need not be, or cannot.
 *
 * @param large `[N, channels, H, W]`.
 * @param small The same.
 * @param weight `[small channels, large channels / groups, kh, kw]`.
 */
export function cutOf(
  large: readonly number[],
  small: readonly number[],
  weight: readonly number[],
  groups: number,
): Cut | null {
  if ([large, small, weight].every(fits)) return null;
  const [rows, channels] = weight as [number, number];
  const whole: Piece = {
    images: [0, large[0]!],
    small: [0, rows],
    large: [0, groups * channels],
  };
  const cut = (by: keyof Piece, a: Span[], b: Span[]): Cut | null => {
    const finest = a.length > b.length ? a : b;
    const pieces = finest.map((part) => ({ ...whole, [by]: part }));
    return pieces.length > 1 ? { by, pieces } : null;
  };
  const largeImage = large.with(0, 1), smallImage = small.with(0, 1);
  if ([largeImage, smallImage, weight].every(fits)) {
    return cut("images", spansOf(large, 0), spansOf(small, 0));
  }
  if (groups > 1) {
    const pieces = Array.from({ length: groups }, (_, g): Piece => ({
      ...whole,
      small: [g * rows / groups, (g + 1) * rows / groups],
      large: [g * channels, (g + 1) * channels],
    }));
    return { by: "groups", pieces };
  }
  return cut("small", spansOf(smallImage, 1), spansOf(weight, 0)) ??
    cut("large", spansOf(largeImage, 1), rows === 1 ? spansOf(weight, 1) : []);
}
