/**
 * `deno task fuzz:wgsl`: compares random programs until one differs. See {@linkcode USAGE}.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { compare, smallest, type Verdict } from "./compare.ts";
import { DeviceProcess } from "./device_process.ts";
import { generate, type Generated } from "./generate.ts";
import { generateLoop } from "./loops.ts";
import { show } from "./node.ts";

const USAGE = `Usage: deno task fuzz:wgsl [options]

Generates random compute shaders and compares what they leave in their buffers: interpreted, compiled
to WebAssembly for one and for four invocations at a time, and on WebGPU where there is an adapter
(some programs only, as drivers take long to compile them). Stops at the first that differs, and
prints it made smaller.

Options:
  --count N         programs, 10000 by default
  --seed N          the first one's seed, 1 by default
  --device-every N  compares every Nth program on WebGPU, 50 by default; 0 for none
  --help            this text`;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    "device-every": { type: "string", default: "50" },
    help: { type: "boolean", short: "h", default: false },
  },
});

function whole(name: "count" | "seed" | "device-every"): number {
  const text = values[name];
  if (/^\d{1,9}$/.test(text)) return Number(text);
  console.error(`--${name} must be a whole number, not ${text}\n\n${USAGE}`);
  Deno.exit(2);
}

async function main(): Promise<number> {
  const count = whole("count"), first = whole("seed");
  const every = whole("device-every");
  const device = new DeviceProcess();
  const hasDevice = every > 0 && await device.start();
  if (every > 0 && !hasDevice) {
    console.log("No adapter: nothing runs on WebGPU");
  }
  const start = performance.now();
  const counts = { same: 0, skipped: 0, device: 0 };
  for (let i = 0; i < count; i++) {
    const seed = first + i;
    const onDevice = hasDevice && i % every === 0;
    // What a driver runs differently, programs for it leave out; every fourth is a loop over memory.
    const program = !onDevice && i % 4 === 3
      ? generateLoop(seed)
      : generate(seed, { portable: onDevice || i % 2 === 1 });
    let verdict: Verdict = compare(program);
    if (verdict === "same" && onDevice) {
      const answer = await device.ask(seed);
      if (answer === "crashed") console.log(`Seed ${seed} crashes the driver`);
      else if (answer) {
        verdict = { difference: `on WebGPU: ${answer.difference}` };
      } else counts.device++;
    }
    if (typeof verdict !== "string") {
      console.log(`Seed ${seed} differs, ${verdict.difference}\n`);
      // Drivers take too long for the many programs on the way to a small one.
      const fails = (smaller: Generated) =>
        typeof compare(smaller) === "object";
      console.log(
        fails(program) ? smallest(program, fails) : show(program.node),
      );
      return 1;
    }
    counts[verdict]++;
    if ((i + 1) % 500 === 0) {
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      console.log(
        `${i + 1} programs in ${seconds} s: ${counts.same} the same, ` +
          `${counts.device} of them on WebGPU too, ${counts.skipped} skipped`,
      );
    }
  }
  await device.close();
  return 0;
}

if (values.help) console.log(USAGE);
else Deno.exit(await main());
