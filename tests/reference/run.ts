/**
 * Runs every case of a folder of reference values: `REFERENCE_DIR=<folder> deno task test:reference
 * [group…]`. Prints what is off, then a line per group and one for all. Exit code 1 means that
 * something is off, 2 that the folder cannot be read.
 *
 * @module
 */
import {
  deviceInfo,
  loadSafetensors,
  type Safetensors,
  scope,
  Tensor,
} from "../../mod.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  type Runner,
  type Values,
} from "./case.ts";
import { runDiffusion } from "./diffusion.ts";
import { runInception } from "./inception.ts";
import { runMetric } from "./metrics.ts";
import { runNet } from "./nets.ts";
import { runOp } from "./ops.ts";
import { runOptim } from "./optim.ts";
import { runRng } from "./rng.ts";

/** What computes the cases of each group. */
const RUNNERS: Readonly<Record<string, Runner>> = {
  rng: runRng,
  ops: runOp,
  optim: runOptim,
  nets: runNet,
  diffusion: runDiffusion,
  metrics: runMetric,
  inception: runInception,
};
/** Relative error of values that are computed in doubles, by the reference's word. */
const DOUBLE_RTOL = 1e-9;

interface Index {
  readonly files: readonly { file: string; group: string; cases: number }[];
  readonly cases: readonly Case[];
}

function quit(message: string): never {
  console.error(message);
  Deno.exit(2);
}

/** The worst element of `got`, if it is out of tolerance. */
function compare(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { atol, rtol }: { atol: number; rtol: number },
): string | null {
  if (got.length !== want.length) {
    return `${got.length} elements, want ${want.length}`;
  }
  let worst = -1, excess = 0, off = 0;
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i])) continue;
    const error = Math.abs(got[i]! - want[i]!);
    const allowed = atol + rtol * Math.abs(want[i]!);
    if (error <= allowed) continue;
    off++;
    // Not a number is worse than anything.
    const over = Number.isNaN(error) ? Infinity : error / allowed;
    if (over > excess || worst < 0) [worst, excess] = [i, over];
  }
  if (worst < 0) return null;
  return `${off} of ${want.length} off, worst at ${worst}: got ${
    got[worst]
  }, want ${want[worst]}, error ${
    Math.abs(got[worst]! - want[worst]!).toExponential(3)
  }, allowed ${
    (atol + rtol * Math.abs(want[worst]!)).toExponential(3)
  } (atol ${atol}, rtol ${rtol})`;
}

/** Problems of one case, none if it passes; null if the library does not have it yet. */
async function check(
  one: Case,
  arrays: Arrays,
  run: Runner,
): Promise<string[] | null> {
  const read: Record<string, ArrayLike<number>> = {};
  const shapes: Record<string, readonly number[]> = {};
  try {
    const isThere = await scope(async () => {
      const values: Values | null = await run(one, arrays);
      if (!values) return false;
      await Promise.all(
        Object.entries(values).map(async ([name, value]) => {
          if (value instanceof Tensor) shapes[name] = value.shape;
          read[name] = value instanceof Tensor ? await value.data() : value;
        }),
      );
      return true;
    });
    if (!isThere) return null;
  } catch (error) {
    return [`threw ${error}`];
  }
  const problems: string[] = [];
  for (const name of [...one.outputs, ...Object.values(one.grads)]) {
    const double = (one.f64 ?? []).find((base) => name.startsWith(`${base}.`));
    if (double && name === `${double}.lo`) continue; // compared with its .hi
    const { data, shape } = arrayOf(arrays, name);
    let want: ArrayLike<number> = data;
    let tolerance = one.tolerance[name];
    let got = read[name];
    if (double && !got && (got = read[double])) {
      const low = arrayOf(arrays, `${double}.lo`).data;
      want = Float64Array.from(data, (high, i) => high + low[i]!);
      tolerance = { atol: 0, rtol: DOUBLE_RTOL };
    }
    if (!got) problems.push(`${name}: not computed`);
    else if (!tolerance) problems.push(`${name}: the index has no tolerance`);
    else if (shapes[name] && shapes[name].join() !== shape.join()) {
      problems.push(`${name}: shape [${shapes[name]}], want [${shape}]`);
    } else {
      // Unsigned numbers are stored as the signed ones of the same bits.
      if (got instanceof Uint32Array) got = Int32Array.from(got);
      const problem = compare(got, want, tolerance);
      if (problem) problems.push(`${name}: ${problem}`);
    }
  }
  return problems;
}

async function main(only: readonly string[]): Promise<number> {
  const folder = Deno.env.get("REFERENCE_DIR");
  if (!folder) {
    quit("Set REFERENCE_DIR to a folder of reference values (with index.json)");
  }
  let index: Index;
  try {
    index = JSON.parse(await Deno.readTextFile(`${folder}/index.json`));
  } catch (error) {
    quit(`Cannot read ${folder}/index.json: ${(error as Error).message}`);
  }
  if (!Array.isArray(index.files) || !Array.isArray(index.cases)) {
    quit(`Cannot read ${folder}/index.json: it must list files and cases`);
  }
  const groups = index.files.map(({ group }) => group);
  const unknown = only.find((group) => !groups.includes(group));
  if (unknown !== undefined) {
    quit(
      `Unknown group "${unknown}": the folder has ${groups.join(", ")}`,
    );
  }
  console.log(`Device: ${deviceInfo().adapter}`);
  const summary: string[] = [];
  let passed = 0, failed = 0;
  for (const { file, group } of index.files) {
    if (only.length > 0 && !only.includes(group)) continue;
    const cases = index.cases.filter((one) => one.file === file);
    const run = RUNNERS[group];
    if (!run) {
      summary.push(`${group} skipped (no runner yet): ${cases.length} cases`);
      continue;
    }
    let tensors: Safetensors["tensors"];
    try {
      ({ tensors } = await loadSafetensors(`${folder}/${file}`));
    } catch (error) {
      quit(`Cannot read ${folder}/${file}: ${(error as Error).message}`);
    }
    let good = 0, skipped = 0;
    const start = performance.now();
    for (const one of cases) {
      const problems = await check(one, tensors, run);
      if (!problems) {
        skipped++;
        continue;
      }
      if (problems.length === 0) good++;
      for (const problem of problems) {
        console.log(`FAILED ${group} ${one.name} (${one.op}) ${problem}`);
      }
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const rest = skipped > 0 ? `, ${skipped} of ops not there yet` : "";
    const total = cases.length - skipped;
    summary.push(`${group} ${good}/${total} (${seconds} s)${rest}`);
    passed += good;
    failed += total - good;
  }
  for (const line of summary) console.log(line);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

Deno.exit(await main(Deno.args.filter((arg) => arg !== "--")));
