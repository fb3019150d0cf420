/**
 * Runs items in other libraries, each in a process of its own that alone downloads and loads them.
 *
 * @module
 */
import { environment, threadsNamed } from "../tensor/device_choice.ts";
import type { Measurement, Unsupported } from "./measure.ts";

/** Libraries to compare with: on WebGPU, and as WebAssembly on the CPU. */
export const PEERS = ["tfjs", "jax-js", "tfjs-wasm", "ort-wasm"] as const;
/** A library to compare with. */
export type Peer = typeof PEERS[number];

/**
 * Measures an item in a peer. On the CPU it gets as many threads as this library.
 *
 * @param peer The library.
 * @param item The item's name.
 * @param timeoutSeconds When to give up, start and compilation included.
 * @returns The measurement, or why there is none.
 */
export async function measurePeer(
  peer: Peer,
  item: string,
  timeoutSeconds: number,
): Promise<Measurement | Unsupported> {
  const threads = Math.max(1, threadsNamed(environment("DENOISE_THREADS")));
  const { code, signal, stdout, stderr } = await new Deno.Command("deno", {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--no-lock", // the lock file is the library's own
      "--allow-read", // of the packages' WebAssembly
      new URL("./peers/run.ts", import.meta.url).href,
      peer,
      item,
      String(threads),
    ],
    signal: AbortSignal.timeout(1000 * timeoutSeconds),
    stdout: "piped",
    stderr: "piped",
  }).output();
  const lines = (bytes: Uint8Array) =>
    new TextDecoder().decode(bytes).trim().split("\n");
  const unsupported = (why: string) => ({ lib: peer, item, unsupported: why });
  if (signal === "SIGTERM") {
    return unsupported(`no result within ${timeoutSeconds} s`);
  }
  if (code !== 0) {
    const error = lines(stderr).find((line) => line.startsWith("error"));
    return unsupported(error ?? `ended with ${signal ?? code}`);
  }
  return JSON.parse(lines(stdout).at(-1)!);
}
