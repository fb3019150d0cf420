/**
 * Large tensors in small: tests in which a binding sees little memory.
 *
 * @module
 */
import { deviceError, deviceInfo } from "../mod.ts";

/** Whether products can be limited: on the CPU no tensor exceeds a binding, and its form counts on it. */
export const hasLimit = !deviceError() && deviceInfo().executor !== "cpu";

/** Runs `body`, and waits for it, as if a binding saw at most `bytes`, and began where it may on any device. */
export function withBindingBytes<T>(bytes: number, body: () => T): T {
  const info = deviceInfo() as {
    maxBindingBytes: number;
    offsetAlignment: number;
  };
  const { maxBindingBytes, offsetAlignment } = info;
  const restore = () =>
    Object.assign(info, { maxBindingBytes, offsetAlignment });
  Object.assign(info, { maxBindingBytes: bytes, offsetAlignment: 256 });
  let result;
  try {
    result = body();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) return result.finally(restore) as T;
  restore();
  return result;
}
