import assert from "node:assert/strict";
import { findAdapter } from "../../tensor/webgpu.ts";
import { assertClose } from "../_check.ts";
import { sourcesOf } from "../wgsl/_kernels.ts";

const adapter = await findAdapter().catch(() => null);

/** Entry points that nothing asks for in this form, and why. */
const UNUSED = new Set([
  // Sums of single columns are never read by fours.
  "kernels/_normalize.ts pack4+source column_dots",
  // Places are found one by one, so that equal ones give the first.
  "kernels/reduce.ts pack4+source arg_max",
]);

/** What subgroups are for: on drivers that have none, these do not run. */
const NEEDS_SUBGROUPS = /subgroup/i;

/** What tests/tensor/_ops.ts computes on a device, by name, and the entry points that it used. */
async function runOps(
  device: string,
): Promise<{ results: Map<string, Float32Array>; ran: string[] }> {
  const folder = await Deno.makeTempDir();
  try {
    const [file, list] = [`${folder}/results`, `${folder}/ran`];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-check",
        "--no-prompt",
        "--allow-read",
        "--allow-write",
        "--allow-env",
        new URL("./_ops.ts", import.meta.url).href,
        file,
        list,
      ],
      env: { DENOISE_DEVICE: device, NO_COLOR: "1" },
    }).output();
    assert(success, `${device}: ${new TextDecoder().decode(stderr)}`);
    const bytes = await Deno.readFile(file);
    const length = new DataView(bytes.buffer).getUint32(0, true);
    const header = JSON.parse(
      new TextDecoder().decode(bytes.subarray(8, 8 + length)),
    ) as Record<string, { dtype: string; data_offsets: [number, number] }>;
    const results = new Map<string, Float32Array>();
    for (const [name, entry] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      assert.equal(entry.dtype, "F32", name);
      const [start, end] = entry.data_offsets;
      const at = 8 + length;
      results.set(
        name,
        new Float32Array(bytes.buffer.slice(at + start, at + end)),
      );
    }
    return { results, ran: JSON.parse(await Deno.readTextFile(list)) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "both executors compute the same with every kernel",
  ignore: adapter === null, // there is nothing to compare with
  fn: async () => {
    const [cpu, gpu] = await Promise.all([runOps("cpu"), runOps("webgpu")]);
    assert.deepEqual([...gpu.results.keys()], [...cpu.results.keys()]);
    for (const [name, want] of gpu.results) {
      const got = cpu.results.get(name)!;
      // Sums of many terms differ by their order: what is large decides what is small.
      const largest = want.reduce((most, v) => Math.max(most, Math.abs(v)), 1);
      await assertClose(got, want, { atol: 1e-5 * largest, rtol: 1e-4 })
        .catch((error: Error) => assert.fail(`${name}: ${error.message}`));
    }
    // A new kernel needs a line in _ops.ts.
    const ran = new Set([...cpu.ran, ...gpu.ran]);
    const subgroups = gpu.ran.some((name) => NEEDS_SUBGROUPS.test(name));
    const missing = sourcesOf().flatMap(({ name, entries }) =>
      entries.map((entry) => `${name} ${entry}`)
    ).filter((name) =>
      !ran.has(name) && !UNUSED.has(name) &&
      (subgroups || !NEEDS_SUBGROUPS.test(name))
    );
    assert.deepEqual(missing, []);
  },
});
