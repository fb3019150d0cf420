/**
 * How kernels share rows among invocations.
 *
 * @module
 */
import { deviceInfo } from "../tensor/device.ts";

/**
 * Invocations per row, each of which takes every so manieth of its `units`: enough that what is
 * computed once per invocation hardly counts; on a GPU, where neighbours are served together, also
 * enough that they read neighbours.
 */
export function lanesPerRow(units: number): number {
  const least = deviceInfo().software ? 1 : 8;
  return Math.max(1, Math.min(units, Math.max(least, Math.ceil(units / 16))));
}
