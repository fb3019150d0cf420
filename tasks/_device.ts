/**
 * `--device`, which says where a task computes. The engine opens its device when it is first
 * imported, so this looks at the command line right away, and a task imports it before anything else.
 *
 * @module
 */
import { DEVICES } from "../tensor/device_choice.ts";
import type { Flags } from "./_cli.ts";

/** For a task's flag table. */
export const deviceFlag = {
  device: {
    type: "string",
    choices: DEVICES,
    description:
      "Where to compute; auto takes a GPU if there is one (default: $DENOISE_DEVICE, else auto)",
  },
} as const satisfies Flags;

/** The last `--device` of a command line, if its value is known; any other is told later, with the rest. */
export function deviceIn(args: readonly string[]): string | undefined {
  const given = args.flatMap((arg, i) =>
    arg === "--device"
      ? [args[i + 1]]
      : arg.startsWith("--device=")
      ? [arg.slice("--device=".length)]
      : []
  );
  return DEVICES.find((device) => device === given.at(-1));
}

const device = deviceIn(Deno.args);
if (device !== undefined) Deno.env.set("DENOISE_DEVICE", device);
