/**
 * Measures what the adapter can do at best: copying large tensors, and multiply-adds in registers.
 *
 * @module
 */
import { scope, sync, zeros } from "../mod.ts";
import { empties, Kernel } from "../tensor/kernel.ts";
import source from "./peak.wgsl" with { type: "text" };

/** The adapter's peaks. */
export interface Peaks {
  /** 10⁹ floating-point operations per second, a multiply-add counting as two. */
  gflops: number;
  /** 10⁹ bytes per second, read and written. */
  gbps: number;
}

const COPY_BYTES = 64 * 1024 * 1024;
/** Invocations of the arithmetic kernel; enough to fill a large GPU several times. */
const INVOCATIONS = 1 << 20;
const ROUNDS = 5;
/** A round lasts about this long. */
const ROUND_MS = 150;

const kernel = new Kernel("peak", source);

/** Best of several rounds on the device in use. */
export async function measurePeaks(): Promise<Peaks> {
  return await scope(async () => {
    const workgroups = (n: number) => ({
      workgroups: () => n / kernel.code("WORKGROUP_SIZE"),
    });
    const x = zeros([COPY_BYTES / 4]), copied = empties(x.shape);
    const invocations = COPY_BYTES / 64;
    const copyMs = await bestMs(() =>
      kernel.run(
        "copy",
        { n: invocations, turns: 0, factor: 0, summand: 0 },
        { x, out: copied },
        workgroups(invocations),
      )
    );
    const out = empties([4 * INVOCATIONS]), turns = 16;
    let multiplyMs = Infinity;
    for (const entry of ["multiply", "multiply8"]) {
      const ms = await bestMs(() =>
        kernel.run(
          entry,
          { n: INVOCATIONS, turns, factor: 0.5, summand: 0.25 },
          { out },
          workgroups(INVOCATIONS),
        )
      );
      multiplyMs = Math.min(multiplyMs, ms);
    }
    const flops = INVOCATIONS * turns * kernel.code("FLOPS_PER_TURN");
    return {
      gflops: flops / multiplyMs / 1e6,
      gbps: 2 * COPY_BYTES / copyMs / 1e6,
    };
  });
}

/** Milliseconds of one run, in the fastest round. */
async function bestMs(run: () => unknown): Promise<number> {
  const timed = async (repetitions: number) => {
    const start = performance.now();
    for (let i = 0; i < repetitions; i++) run();
    await sync();
    return (performance.now() - start) / repetitions;
  };
  await timed(1);
  let best = await timed(1);
  for (let round = 0; round < ROUNDS; round++) {
    best = Math.min(best, await timed(Math.ceil(ROUND_MS / best)));
  }
  return best;
}
