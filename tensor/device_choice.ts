/**
 * Where the user wants to compute: `DENOISE_DEVICE` and `DENOISE_THREADS`.
 *
 * @module
 */
import { nearest } from "./nearest.ts";

/** Values of `DENOISE_DEVICE`: `auto` takes a GPU if there is one. */
export const DEVICES = ["auto", "webgpu", "cpu"] as const;

/** A value of `DENOISE_DEVICE`. */
export type DeviceName = (typeof DEVICES)[number];

/** A variable of the environment, where it is set and may be read; never asks for permission. */
export function environment(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" && Deno.env.get(variable) || undefined;
}

/**
 * Checks `DENOISE_DEVICE`.
 *
 * @param text Its value, `auto` if it is not set.
 * @throws {RangeError} If it is no device.
 */
export function deviceNamed(text: string = "auto"): DeviceName {
  const name = DEVICES.find((device) => device === text);
  if (name) return name;
  const guess = nearest(text, DEVICES);
  const hint = guess === undefined ? "." : `: did you mean "${guess}"?`;
  throw new RangeError(
    `Unknown DENOISE_DEVICE "${text}"${hint} Allowed: ${DEVICES.join(", ")}`,
  );
}

/**
 * Checks `DENOISE_THREADS`.
 *
 * @param text Its value; one for each core, 64 at most, if it is not set. `0` computes on the thread
 *   of the script.
 * @throws {RangeError} If it is not a whole number up to 64.
 */
export function threadsNamed(text: string | undefined): number {
  if (text === undefined) {
    return Math.min(64, navigator.hardwareConcurrency || 1);
  }
  const threads = /^\d{1,2}$/.test(text) ? Number(text) : NaN;
  if (threads <= 64) return threads;
  throw new RangeError(
    `Cannot compute on ${text} threads as DENOISE_THREADS must be a whole number from 1 to 64`,
  );
}
