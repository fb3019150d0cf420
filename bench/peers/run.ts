/**
 * Measures one item in one peer and prints a line of JSON: `run.ts ort-wasm matmul_512 2`, the last the
 * number of threads of those that compute on the CPU.
 *
 * @module
 */
import { ITEMS } from "../items.ts";
import type { Library } from "../library.ts";
import { measure } from "../measure.ts";
import type { Peer } from "../peers.ts";
import { openJaxJs } from "./jax_js.ts";
import { openOrtWasm } from "./ort_wasm.ts";
import { openTfjs } from "./tfjs.ts";
import { openTfjsWasm } from "./tfjs_wasm.ts";

// deno-lint-ignore no-explicit-any -- each has tensors of its own
const OPEN: Record<Peer, (threads: number) => Promise<Library<any>>> = {
  "tfjs": openTfjs,
  "jax-js": openJaxJs,
  "tfjs-wasm": openTfjsWasm,
  "ort-wasm": openOrtWasm,
};
const [peer, name, threads] = Deno.args;
const library = await OPEN[peer as Peer](Number(threads));
const item = ITEMS.find((item) => item.name === name)!;
const result = await measure(library, item).catch((error: unknown) => ({
  lib: library.name,
  item: item.name,
  unsupported: String(error instanceof Error ? error.message : error)
    .split("\n")[0]!
    .replace(/^Kernel '(\w+)' not registered.*/, "no kernel $1"),
}));
console.log(JSON.stringify(result));
Deno.exit(); // the libraries keep timers and threads
