/**
 * Times one item: warm-up, then medians of runs long enough that the final readback does not count.
 *
 * @module
 */
import { deviceInfo, scope, sync } from "../mod.ts";
import { checksum } from "./data.ts";
import type { Item } from "./items.ts";

/** One line of the report. Times in milliseconds. */
export interface Measurement {
  /** `denoise`, or a peer. */
  lib: string;
  /** Adapter. */
  device: string;
  /** Item name. */
  item: string;
  /** Median over runs. */
  ms_median: number;
  /** Fastest run. */
  ms_min: number;
  /** Timed runs. */
  runs: number;
  /** 10⁹ floating-point operations per second, at the median. */
  gflops?: number;
  /** 10⁹ bytes per second, at the median. */
  gbps?: number;
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

const BUDGET_MS = 2500, MAX_RUNS = 15, MIN_RUNS = 3;
/** A timed run lasts about this long, by repetition. */
const RUN_MS = 120;

/** Measures an item on the device in use. */
export function measure(item: Item): Promise<Measurement> {
  return scope(async () => {
    const prepared = item.prepare();
    /** Milliseconds per repetition, and the last result's first number. */
    const timed = async (repetitions: number) => {
      const start = performance.now();
      for (let i = 1; i < repetitions; i++) {
        for (const t of prepared.run()) t.dispose();
      }
      const results = prepared.run();
      const last = results.at(-1)!;
      if (last.size === 1) {
        const value = await last.item();
        for (const t of results) t.dispose();
        return { ms: (performance.now() - start) / repetitions, value };
      }
      await sync();
      for (const t of results) t.dispose();
      return { ms: (performance.now() - start) / repetitions, value: NaN };
    };
    await sync();
    let check = NaN;
    const before = performance.now();
    const outputs = prepared.run();
    await sync();
    const firstMs = performance.now() - before;
    const loss1 = prepared.training ? await outputs[0]!.item() : undefined;
    if (!prepared.training) check = await checksum(outputs);
    for (const t of outputs) t.dispose();
    await timed(1);
    const { ms, value } = await timed(1);
    if (prepared.training) check = value;
    const repetitions = Math.max(1, Math.min(2000, Math.ceil(RUN_MS / ms)));
    const times: number[] = [];
    const start = performance.now();
    while (
      times.length < MIN_RUNS ||
      (times.length < MAX_RUNS && performance.now() - start < BUDGET_MS)
    ) times.push((await timed(repetitions)).ms);
    times.sort((a, b) => a - b);
    const middle = times.length >> 1;
    const median = times.length % 2
      ? times[middle]!
      : (times[middle - 1]! + times[middle]!) / 2;
    const rate = (amount?: number) =>
      amount === undefined
        ? undefined
        : Number((amount / median / 1e6).toFixed(2));
    const digits = (x: number) => Number(x.toPrecision(8));
    return {
      lib: "denoise",
      device: deviceInfo().adapter,
      item: item.name,
      ms_median: Number(median.toFixed(3)),
      ms_min: Number(times[0]!.toFixed(3)),
      runs: times.length,
      gflops: rate(item.flops),
      gbps: rate(item.bytes),
      check: digits(check),
      ...(prepared.training
        ? { loss1: digits(loss1!), loss3: digits(check) }
        : {}),
      params: prepared.params,
      first_ms: Number(firstMs.toFixed(1)),
    };
  });
}
