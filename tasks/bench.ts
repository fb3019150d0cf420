/**
 * `deno task bench`: times kernels, training steps and sampling steps on the device in use.
 *
 * @module
 */
import { ITEMS } from "../bench/items.ts";
import { measure, type Measurement } from "../bench/measure.ts";
import { deviceInfo } from "../mod.ts";
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

/** What `deno task bench` accepts. */
export const command = defineCommand({
  ...taskInfo("bench"),
  flags: {
    item: {
      type: "list",
      placeholder: "NAME[,NAME…]",
      description:
        "Items to run, by name; * stands for any characters (default: all)",
    },
  },
  notes:
    "A time is the median over runs after two runs of warm-up; a short item is repeated within a run, so that the readback at its end does not count. check is a checksum of the results (of a training item: the loss of the third step), equal for every library that computes the same.",
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
  const names = ITEMS.map(({ name }) => name);
  const patterns = flags.item ?? ["*"];
  const chosen = new Set(patterns.flatMap((pattern) => {
    const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll(
      "*",
      ".*",
    );
    const found = names.filter((name) => new RegExp(`^${escaped}$`).test(name));
    if (found.length === 0) {
      throw new UsageError(unknownValue("item", pattern, names));
    }
    return found;
  }));
  const items = ITEMS.filter(({ name }) => chosen.has(name));
  using progress = new Progress({
    label: `Measuring on ${deviceInfo().adapter}`,
    total: items.length,
    unit: "items",
    quiet: json,
    intervalSeconds: 0,
  });
  const results: Measurement[] = [];
  for (const [i, item] of items.entries()) {
    const result = await measure(item);
    results.push(result);
    if (json) console.log(JSON.stringify(result));
    progress.update(i + 1, item.name);
  }
  progress.finish();
  if (json) return;
  const rows = results.map((r) => [
    r.item,
    r.ms_median.toFixed(2),
    r.ms_min.toFixed(2),
    r.gflops?.toFixed(1) ?? "",
    r.gbps?.toFixed(1) ?? "",
    r.first_ms.toFixed(0),
    String(r.check),
  ]);
  const head = [
    "item",
    "median ms",
    "min ms",
    "GFLOP/s",
    "GB/s",
    "first ms",
    "check",
  ];
  console.log(formatTable([head, ...rows]));
}

if (import.meta.main) await runTask(command, main);
