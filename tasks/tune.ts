/**
 * `deno task tune`: measures the forms of matrix products and convolutions on the adapter in use.
 *
 * @module
 */
import {
  conv2d,
  convTranspose2d,
  deviceInfo,
  gradients,
  matmul,
  Rng,
  scope,
  setVariants,
  sync,
  type Tensor,
  type Variant,
  VARIANTS,
  withVariant,
} from "../mod.ts";
import { defineCommand, type Parsed, runTask } from "./_cli.ts";
import { Progress } from "./_progress.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { readTuned, tunedFile, useTuned, writeTuned } from "./_tuned.ts";

/** What `deno task tune` accepts. */
export const command = defineCommand({
  ...taskInfo("tune"),
  flags: {
    write: {
      type: "boolean",
      default: true,
      description: "Measure only, and leave the table as it is",
    },
  },
  notes:
    "Each form is compared with the plain one before it may win. The table lies in the cache folder, one file for each adapter. Delete the file to go back to the built-in rule.",
});

/** A product to measure; only the work of `run` is timed. */
export interface Probe {
  /** Sizes, for people. */
  readonly name: string;
  /** Makes the inputs. */
  prepare(): () => Tensor;
}

const rng = new Rng(1);

/** `a b` for `[batch, m, k]` and `[batch, k, n]`. */
function matmulProbe(m: number, k: number, n: number, batch = 1): Probe {
  return {
    name: `matmul ${batch > 1 ? `${batch} x ` : ""}${m} x ${k} x ${n}`,
    prepare() {
      const leading = batch > 1 ? [batch] : [];
      const a = rng.normal([...leading, m, k]);
      const b = rng.normal([...leading, k, n]);
      return () => matmul(a, b);
    },
  };
}

/** Forward pass and weight gradient of a convolution that keeps the size of images. */
export function convProbes(
  n: number,
  from: number,
  to: number,
  size: number,
  kernel = 3,
): Probe[] {
  const shapes = `[${[n, from, size, size]}] to ${to}, ${kernel}x${kernel}`;
  const make = () => {
    const x = rng.normal([n, from, size, size]);
    const weight = rng.normal([to, from, kernel, kernel]).requireGrad();
    return [
      x,
      weight,
      () => conv2d(x, weight, undefined, { padding: (kernel - 1) / 2 }),
    ] as const;
  };
  return [
    { name: `conv2d ${shapes}`, prepare: () => make()[2] },
    {
      name: `weight gradient ${shapes}`,
      prepare() {
        const [, weight, run] = make();
        const y = run(), dy = rng.normal(y.shape);
        return () => gradients(y, [weight], { upstream: dy })[0]!;
      },
    },
  ];
}

/** The products of networks of the usual sizes; a software driver would take minutes for the large. */
function probes(): Probe[] {
  const large = deviceInfo().software ? [] : [
    matmulProbe(4096, 4096, 4096),
    matmulProbe(2048, 2048, 2048),
    matmulProbe(16384, 512, 512),
    matmulProbe(1024, 64, 1024, 64),
    ...convProbes(64, 128, 128, 32),
    ...convProbes(64, 256, 256, 16),
    ...convProbes(64, 512, 512, 8),
  ];
  return [
    ...large,
    matmulProbe(512, 512, 512),
    matmulProbe(4096, 64, 64),
    matmulProbe(64, 256, 1024),
    matmulProbe(256, 32, 256, 16),
    ...convProbes(16, 64, 64, 32),
    ...convProbes(16, 128, 128, 16),
    ...convProbes(16, 256, 256, 8),
    ...convProbes(16, 3, 64, 32),
    ...convProbes(16, 64, 3, 32),
    ...convProbes(16, 64, 64, 32, 1),
    {
      name: "convTranspose2d [16,128,8,8] to 128, 4x4, stride 2",
      prepare() {
        const x = rng.normal([16, 128, 8, 8]);
        const weight = rng.normal([128, 128, 4, 4]);
        return () =>
          convTranspose2d(x, weight, undefined, { stride: 2, padding: 1 });
      },
    },
  ];
}

/** What became of one probe. */
export interface Tuning {
  /** The probe's. */
  readonly name: string;
  /** Class of the product, as `setVariants` knows it. */
  readonly product: string;
  /** The form in use so far. */
  readonly before: Variant;
  /** The form to use. */
  readonly after: Variant;
  /** Milliseconds by form; a form far behind is timed once, one that is wrong or cannot be not at all. */
  readonly ms: Readonly<Partial<Record<Variant, number>>>;
}

const RUN_MS = 60, RUNS = 5;
/** Another form must be this much faster than the one in use, so that noise changes nothing. */
const GAIN = 1.05;
/** A form this much slower than the best is not timed again. */
const HOPELESS = 2;

/** Largest difference, in units of the largest element; NaN anywhere is NaN. */
function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let difference = 0, largest = 0;
  for (let i = 0; i < want.length; i++) {
    difference = Math.max(difference, Math.abs(got[i]! - want[i]!));
    largest = Math.max(largest, Math.abs(want[i]!));
  }
  return difference / Math.max(largest, Number.MIN_VALUE);
}

/** Measures every form of one product. */
export function tune({ name, prepare }: Probe): Promise<Tuning> {
  return scope(async () => {
    const run = prepare();
    const { result, taken } = withVariant(undefined, run);
    result.dispose();
    const [[product, before]] = Object.entries(taken) as [[string, Variant]];
    const timed = async (variant: Variant, repetitions: number) => {
      const start = performance.now();
      for (let i = 0; i < repetitions; i++) {
        withVariant(variant, run).result.dispose();
      }
      await sync();
      return (performance.now() - start) / repetitions;
    };
    await sync();
    const plain = withVariant("register", run).result;
    const want = await plain.data();
    plain.dispose();
    const ms: Partial<Record<Variant, number>> = {};
    let best = Infinity;
    for (const variant of VARIANTS) {
      const { result, taken } = withVariant(variant, run); // also compiles it
      const error = distance(await result.data(), want);
      result.dispose();
      if (taken[product] !== variant || !(error < 1e-4)) continue;
      ms[variant] = await timed(variant, 1);
      const repetitions = Math.ceil(RUN_MS / ms[variant]);
      for (let i = 0; i < RUNS && ms[variant] < HOPELESS * best; i++) {
        ms[variant] = Math.min(ms[variant], await timed(variant, repetitions));
      }
      best = Math.min(best, ms[variant]);
    }
    const [fastest] = (Object.entries(ms) as [Variant, number][])
      .toSorted(([, a], [, b]) => a - b)[0]!;
    const after = (ms[before] ?? Infinity) > GAIN * best ? fastest : before;
    return { name, product, before, after, ms };
  });
}

/**
 * Measures, and writes the table.
 *
 * @param parsed The command line.
 * @param list What to measure; defaults to the usual products.
 */
export async function main(
  { flags, json }: Pick<Parsed<typeof command.flags>, "flags" | "json">,
  list: readonly Probe[] = probes(),
): Promise<void> {
  useTuned();
  const results = new Map<string, Tuning>();
  {
    using progress = new Progress({
      label: `Measuring on ${deviceInfo().adapter}`,
      total: list.length,
      unit: "products",
      quiet: json,
    });
    for (const [i, probe] of list.entries()) {
      const tuning = await tune(probe);
      // Of two products in one class, the first and larger decides.
      if (!results.has(tuning.product)) results.set(tuning.product, tuning);
      if (json) console.log(JSON.stringify(tuning));
      progress.update(i + 1, probe.name);
    }
    progress.finish();
  }
  const table = { ...readTuned() };
  for (const { product, after } of results.values()) table[product] = after;
  if (flags.write) {
    await writeTuned(table);
    setVariants(table);
  }
  if (json) return;
  const rows = [...results.values()].map(({ name, before, after, ms }) => [
    name,
    ...VARIANTS.map((variant) => ms[variant]?.toFixed(2) ?? "-"),
    before === after ? after : `${before} → ${after}`,
  ]);
  const head = ["product", ...VARIANTS.map((name) => `${name} ms`), "form"];
  console.log(formatTable([head, ...rows]));
  const changed = rows.filter((row) => row.at(-1)!.includes("→")).length;
  console.log(
    `\n${changed} of ${rows.length} forms changed. ` +
      (flags.write ? `Written to ${tunedFile()}` : "Nothing written"),
  );
}

if (import.meta.main) await runTask(command, main);
