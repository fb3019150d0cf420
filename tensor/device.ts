/**
 * The device that all tensors live on. It is opened when this module is first imported; a machine
 * without one is reported by the first operation that needs it.
 *
 * @module
 */
import { context } from "./context.ts";
import {
  type DeviceName,
  deviceNamed,
  environment,
  threadsNamed,
} from "./device_choice.ts";
import type { DeviceInfo, Executor } from "./executor.ts";
import { findAdapter, isSoftware, nameOf, openWebGpu } from "./webgpu.ts";

/** Which device was asked for, and why it is the one in use. */
export interface DeviceChoice {
  /** `DENOISE_DEVICE`, or `auto`. */
  readonly asked: DeviceName;
  /** One clause. */
  readonly reason: string;
}

let choice: DeviceChoice = { asked: "auto", reason: "nothing else was asked" };

const opened: Executor | Error = await open().catch((error: unknown) =>
  error instanceof Error ? error : new Error(String(error))
);

async function open(): Promise<Executor> {
  const asked = deviceNamed(environment("DENOISE_DEVICE"));
  const choose = (reason: string) => choice = { asked, reason };
  if (asked !== "auto") {
    choose("it was asked for");
    return asked === "cpu"
      ? await openCpuDevice()
      : await openWebGpu(await findAdapter());
  }
  const adapter = await findAdapter().catch((error: Error) => error);
  if (!(adapter instanceof Error) && !isSoftware(adapter)) {
    choose(`${nameOf(adapter)} is a GPU`);
    return await openWebGpu(adapter);
  }
  choose(
    adapter instanceof Error
      ? "there is no GPU adapter"
      : `the only adapter, ${nameOf(adapter)}, is a software driver`,
  );
  return await openCpuDevice();
}

/** Loaded only where it is used. */
async function openCpuDevice(): Promise<Executor> {
  const threads = threadsNamed(environment("DENOISE_THREADS"));
  const [{ openCpu }, { compileWgsl }] = await Promise.all([
    import("./cpu.ts"),
    import("../wgsl/compile.ts"),
  ]);
  return openCpu(compileWgsl, { threads });
}

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

/** Which device was asked for, and why it is the one in use. */
export function deviceChoice(): DeviceChoice {
  return choice;
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

/**
 * Lets timers and signals have their turn in a loop that only records work, and waits where so much
 * is queued that recording more would block. Cheap enough for every step.
 */
export async function turn(): Promise<void> {
  await executor().turn();
}
