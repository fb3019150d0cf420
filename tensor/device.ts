/**
 * The device that all tensors live on. It is opened when this module is first imported; a machine
 * without one is reported by the first operation that needs it.
 *
 * @module
 */
import { context } from "./context.ts";
import type { DeviceInfo, Executor } from "./executor.ts";
import { openWebGpu } from "./webgpu.ts";

const opened: Executor | Error = await openWebGpu().catch((error: unknown) =>
  error instanceof Error ? error : new Error(String(error))
);

/**
 * The executor in use; inside a captured step, what takes it down.
 *
 * @throws {NoDeviceError} If the machine has no usable adapter; the message says what to install.
 */
export function executor(): Executor {
  const { trace } = context();
  if (trace) return trace;
  if (opened instanceof Error) throw opened;
  return opened;
}

/**
 * What the device in use is and can do.
 *
 * @throws {NoDeviceError} If there is none.
 */
export function deviceInfo(): DeviceInfo {
  return executor().info;
}

/** Why there is no device, or null if there is one. */
export function deviceError(): Error | null {
  return opened instanceof Error ? opened : null;
}

/**
 * Waits until the device has done everything asked of it so far.
 *
 * @throws {Error} What went wrong since the last readback, named after the operation.
 */
export async function sync(): Promise<void> {
  await executor().sync();
}
