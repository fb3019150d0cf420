/**
 * How kernels share rows among invocations.
 *
 * @module
 */
import { deviceInfo } from "../tensor/device.ts";

/** Units that one thread of a processor takes in a row. */
const STRETCH = 4096;

/**
 * Invocations per row, each of which takes every so manieth of its `units`: enough that what is
 * computed once per invocation hardly counts; on a GPU, where neighbours are served together, also
 * enough that they read neighbours. On the CPU, which takes one after another, only long rows are
 * shared.
 */
export function lanesPerRow(units: number): number {
  const { executor, software } = deviceInfo();
  if (executor === "cpu") return Math.max(1, Math.ceil(units / STRETCH));
  const least = software ? 1 : 8;
  return Math.max(1, Math.min(units, Math.max(least, Math.ceil(units / 16))));
}
