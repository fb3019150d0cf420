/**
 * Measures one item in one peer and prints a line of JSON: `run.ts tfjs matmul_512`.
 *
 * @module
 */
import { ITEMS } from "../items.ts";
import type { Library } from "../library.ts";
import { measure } from "../measure.ts";
import type { Peer } from "../peers.ts";
import { openJaxJs } from "./jax_js.ts";
import { openTfjs } from "./tfjs.ts";

const OPEN: Record<Peer, () => Promise<Library<unknown>>> = {
  "tfjs": openTfjs,
  "jax-js": openJaxJs,
};
const [peer, name] = Deno.args;
const library = await OPEN[peer as Peer]();
const item = ITEMS.find((item) => item.name === name)!;
const result = await measure(library, item).catch((error: unknown) => ({
  lib: library.name,
  item: item.name,
  unsupported: String(error instanceof Error ? error.message : error)
    .split("\n")[0]!,
}));
console.log(JSON.stringify(result));
Deno.exit(); // both libraries keep timers
