/**
 * `deno task bench`: times kernels, training steps and sampling steps on the device in use, beside
 * other libraries if asked.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { denoise } from "../bench/denoise.ts";
import { type ItemOf, ITEMS } from "../bench/items.ts";
import {
  measure,
  type Measurement,
  type Unsupported,
} from "../bench/measure.ts";
import { OWN_ITEMS } from "../bench/own_items.ts";
import { measurePeaks } from "../bench/peak.ts";
import { measurePeer, PEERS } from "../bench/peers.ts";
import {
  type Comparison,
  markdownTable,
  summaryOf,
  tableOf,
  withShares,
} from "../bench/report.ts";
import { deviceInfo, scope, type Tensor } from "../mod.ts";
import {
  defineCommand,
  type Parsed,
  runTask,
  unknownValue,
  UsageError,
} from "./_cli.ts";
import { Progress } from "./_progress.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task bench` accepts. */
export const command = defineCommand({
  ...taskInfo("bench"),
  flags: {
    ...deviceFlag,
    item: {
      type: "list",
      placeholder: "NAME[,NAME…]",
      description:
        "Items to run, by name; * stands for any characters (default: all)",
    },
    vs: {
      type: "list",
      choices: PEERS,
      description:
        "Libraries that run the same items, each in its own process, tfjs and jax-js on WebGPU, the others on the CPU; downloads them once",
    },
    rounds: {
      type: "integer",
      min: 1,
      default: 1,
      description: "Rounds over the libraries per item; the fastest counts",
    },
    timeout: {
      type: "integer",
      min: 1,
      default: 300,
      placeholder: "SECONDS",
      description: "When to give up on an item in another library",
    },
    markdown: {
      type: "boolean",
      description: "Print the table as Markdown",
    },
  },
  notes:
    "A time is the median over runs after two runs of warm-up; a short item is repeated within a run, so that the readback at its end does not count. check is a checksum of the results (of a training item: the loss of the third step), equal for every library that computes the same; a ratio, the other library's time over ours, is given only where it is. --device is for this library alone; others run where they can, on the CPU with as many threads as this library would. Shares compare with what two small kernels reach on the device: multiply-adds in registers, and copies.",
});

/**
 * Runs the benchmark.
 *
 * @param parsed The command line.
 * @throws {UsageError} If no item has a given name.
 */
export async function main(
  { flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  const items = chosen(flags.item ?? ["*"]);
  useTuned();
  using progress = new Progress({
    label: `Measuring on ${deviceInfo().adapter}`,
    total: items.length,
    unit: "items",
    quiet: json,
    intervalSeconds: 0,
  });
  const peaks = await measurePeaks();
  if (json) {
    console.log(
      JSON.stringify({ device: deviceInfo().adapter, item: "peak", ...peaks }),
    );
  }
  const library = denoise();
  const comparisons: Comparison[] = [];
  for (const [i, item] of items.entries()) {
    const comparison = await compare(item);
    comparisons.push(comparison);
    if (json) {
      for (const line of [comparison.ours, ...comparison.peers]) {
        console.log(JSON.stringify(line));
      }
    }
    progress.update(i + 1, item.name);
  }
  progress.finish();
  if (json) return;
  const table = tableOf(comparisons);
  console.log(flags.markdown ? markdownTable(table) : formatTable(table));
  for (const sentence of summaryOf(comparisons, peaks)) {
    console.log(`\n${sentence}`);
  }

  /** Alternates the libraries, and keeps the fastest round of each. */
  async function compare(item: ItemOf<Tensor>): Promise<Comparison> {
    const isShared = ITEMS.some(({ name }) => name === item.name);
    const contenders: (() => Promise<Measurement | Unsupported>)[] = [
      () => scope(() => measure(library, item)),
      ...(flags.vs ?? []).map((lib) => async () =>
        isShared
          ? await measurePeer(lib, item.name, flags.timeout)
          : { lib, item: item.name, unsupported: "measured in denoise alone" }
      ),
    ];
    const best: (Measurement | Unsupported)[] = [];
    for (let round = 0; round < flags.rounds; round++) {
      for (const [i, contender] of contenders.entries()) {
        const last = best[i];
        if (last && "unsupported" in last) continue;
        const next = await contender();
        if ("unsupported" in next) best[i] ??= next;
        else if (!last || next.ms_median < last.ms_median) {
          best[i] = next.device === deviceInfo().adapter
            ? withShares(next, peaks)
            : next;
        }
      }
    }
    const [ours, ...peers] = best;
    return { ours: ours as Measurement, peers };
  }
}

/** The items whose names match. */
function chosen(patterns: readonly string[]): ItemOf<Tensor>[] {
  const all: ItemOf<Tensor>[] = [...ITEMS, ...OWN_ITEMS];
  const names = all.map(({ name }) => name);
  const found = new Set(patterns.flatMap((pattern) => {
    const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll(
      "*",
      ".*",
    );
    const matches = names.filter((name) =>
      new RegExp(`^${escaped}$`).test(name)
    );
    if (matches.length === 0) {
      throw new UsageError(unknownValue("item", pattern, names));
    }
    return matches;
  }));
  return all.filter(({ name }) => found.has(name));
}

if (import.meta.main) await runTask(command, main);
