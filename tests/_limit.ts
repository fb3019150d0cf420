/**
 * Large tensors in small: tests in which a binding sees little memory.
 *
 * @module
 */
import { deviceError, deviceInfo } from "../mod.ts";

/** Whether products can be limited: on the CPU no tensor exceeds a binding, and its form counts on it. */
export const hasLimit = !deviceError() && deviceInfo().executor !== "cpu";

/** Runs `body` as if a binding saw at most `bytes`, and began where it may on any device. */
export function withBindingBytes<T>(bytes: number, body: () => T): T {
  const info = deviceInfo() as {
    maxBindingBytes: number;
    offsetAlignment: number;
  };
  const { maxBindingBytes, offsetAlignment } = info;
  Object.assign(info, { maxBindingBytes: bytes, offsetAlignment: 256 });
  try {
    return body();
  } finally {
    Object.assign(info, { maxBindingBytes, offsetAlignment });
  }
}
