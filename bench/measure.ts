/**
 * Times one item: warm-up, then medians of runs long enough that the final readback does not count.
 *
 * @module
 */
import { checksum } from "./data.ts";
import type { ItemOf } from "./items.ts";
import type { Library } from "./library.ts";

/** One line of the report. Times in milliseconds. */
export interface Measurement {
  /** `denoise`, or a peer with its version. */
  lib: string;
  /** Adapter. */
  device: string;
  /** Item name. */
  item: string;
  /** Median over runs. */
  ms_median: number;
  /** Fastest run. */
  ms_min: number;
  /** `ms_median` over the images of a run. */
  ms_per_image?: number;
  /** Timed runs. */
  runs: number;
  /** 10⁹ floating-point operations per second, at the median. */
  gflops?: number;
  /** 10⁹ bytes per second, at the median. */
  gbps?: number;
  /** `gflops` as a share of the adapter's arithmetic peak. */
  gflops_share?: number;
  /** `gbps` as a share of the adapter's copies. */
  gbps_share?: number;
  /** Checksum of the outputs; of a training item the loss of the third step. */
  check: number;
  /** Loss of the first step. */
  loss1?: number;
  /** Loss of the third step. */
  loss3?: number;
  /** Parameters of the network. */
  params?: number;
  /** The first run, with compilation. */
  first_ms: number;
}

/** An item that a library could not do. */
export interface Unsupported {
  /** The library. */
  lib: string;
  /** Item name. */
  item: string;
  /** Why, in the library's words. */
  unsupported: string;
}

const BUDGET_MS = 1500, MAX_RUNS = 15, MIN_RUNS = 3;
/** A run this long is timed twice, and no more. */
const SLOW_MS = 2000;
/** A timed run lasts about this long, by repetition. */
const RUN_MS = 120;

/** The middle of sorted numbers. */
export function median(sorted: readonly number[]): number {
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Measures an item. */
export async function measure<T>(
  lib: Library<T>,
  item: ItemOf<T>,
): Promise<Measurement> {
  const { run, layouts, params } = item.prepare(lib);
  const training = layouts.length === 0;
  /** Milliseconds per repetition, with one wait for the device. */
  const timed = async (repetitions: number) => {
    const start = performance.now();
    for (let i = 1; i < repetitions; i++) lib.free(await run());
    const results = await run();
    await lib.wait(results);
    const ms = (performance.now() - start) / repetitions;
    return { ms, results };
  };
  const values = (results: T[]) =>
    Promise.all(results.map((x, i) => lib.read(x, layouts[i] ?? "plain")));

  const first = await timed(1);
  const firstValues = await values(first.results);
  lib.free(first.results);
  lib.free((await timed(1)).results);
  const third = await timed(1);
  const loss = (read: Float32Array[]) => Number(read[0]![0]!.toPrecision(8));
  const check = training
    ? loss(await values(third.results))
    : Number(checksum(firstValues).toPrecision(8));
  lib.free(third.results);

  const repetitions = Math.max(1, Math.min(500, Math.ceil(RUN_MS / third.ms)));
  // The warm-up of a slow item is nearly steady, and counts.
  const times = third.ms > SLOW_MS ? [third.ms] : [];
  const start = performance.now();
  while (
    times.length < MIN_RUNS ||
    (times.length < MAX_RUNS && performance.now() - start < BUDGET_MS)
  ) {
    if (times.length > 1 && third.ms > SLOW_MS) break;
    const { ms, results } = await timed(repetitions);
    lib.free(results);
    times.push(ms);
  }
  times.sort((a, b) => a - b);
  const ms = median(times);
  const rate = (amount?: number) =>
    amount && Number((amount / ms / 1e6).toFixed(2));
  return {
    lib: lib.name,
    device: lib.adapter,
    item: item.name,
    ms_median: Number(ms.toFixed(3)),
    ms_min: Number(times[0]!.toFixed(3)),
    ms_per_image: item.images && Number((ms / item.images).toFixed(3)),
    runs: times.length,
    gflops: rate(item.flops),
    gbps: rate(item.bytes),
    check,
    ...(training ? { loss1: loss(firstValues), loss3: check } : {}),
    params,
    first_ms: Number(first.ms.toFixed(1)),
  };
}
