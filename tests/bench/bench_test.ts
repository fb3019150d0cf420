import assert from "node:assert/strict";
import { checksum, uniform, unitHash } from "../../bench/data.ts";
import { denoise } from "../../bench/denoise.ts";
import { ITEMS } from "../../bench/items.ts";
import { measure, type Measurement } from "../../bench/measure.ts";
import { OWN_ITEMS } from "../../bench/own_items.ts";
import { cpuName } from "../../bench/peers/cpu_name.ts";
import { count, unetDeclarations, UNETS } from "../../bench/networks.ts";
import {
  disagreements,
  markdownTable,
  ratio,
  summaryOf,
  tableOf,
  withShares,
} from "../../bench/report.ts";
import { deviceError, scope } from "../../mod.ts";
import { parseCommand } from "../../tasks/_cli.ts";
import { command } from "../../tasks/bench.ts";

const ignore = deviceError() !== null;

const measured = (more: Partial<Measurement> = {}): Measurement => ({
  lib: "denoise",
  device: "an adapter",
  item: "matmul_512",
  ms_median: 10,
  ms_min: 9,
  runs: 3,
  check: 1,
  first_ms: 100,
  ...more,
});
const peaks = { gflops: 40, gbps: 20 };

Deno.test("unitHash() gives the numbers that other languages' runs use", () => {
  const bits = (n: number, seed: number) =>
    [...unitHash(n, seed)].map((u) => u * 2 ** 32);
  assert.deepEqual(bits(3, 1), [520022130, 3288117084, 3318288725]);
  assert.deepEqual(bits(2, 100), [3739068558, 1292205129]);
});

Deno.test("uniform() keeps its range", () => {
  const values = uniform([7, 11], 3, 2);
  assert.equal(values.length, 77);
  assert.ok(values.every((u) => u >= -2 && u < 2));
});

Deno.test("checksum() tells permuted and negated results from the right ones", () => {
  const right = uniform([100], 1);
  assert.notEqual(checksum([right.toReversed()]), checksum([right]));
  assert.notEqual(checksum([right.map((u) => -u)]), checksum([right]));
  assert.equal(checksum([right, right]), checksum([right]));
});

Deno.test("unetDeclarations() has the parameters of the networks compared with", () => {
  assert.equal(count(unetDeclarations(UNETS.unet16!)), 1112801);
});

Deno.test("ITEMS have names of their own", () => {
  const names = [...ITEMS, ...OWN_ITEMS].map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
});

Deno.test({
  name: "measure() gives the checksum of results and the losses of steps",
  ignore,
  async fn() {
    const x = uniform([33], 1);
    const sum = await scope(() =>
      measure(denoise(), {
        name: "double",
        flops: 33,
        prepare: (lib) => ({
          run: lib.compile((x) => [lib.add(x!, x!)], [lib.tensor(x, [33])]),
          layouts: ["plain"],
        }),
      })
    );
    assert.ok(Math.abs(sum.check - checksum([x.map((u) => 2 * u)])) < 1e-6);
    assert.ok(sum.ms_min <= sum.ms_median && sum.gflops! >= 0);
    const training = await scope(() =>
      measure(denoise(), {
        name: "square",
        prepare(lib) {
          // Adam moves by its rate at first: the losses are 1, 0.81 and about 0.64.
          const step = lib.train({
            networks: [{ w: lib.tensor(Float32Array.of(1), [1]) }],
            inputs: [],
            adam: { learningRate: 0.1, betas: [0.9, 0.999] },
            step: (_, update) => update(0, ({ w }) => lib.sum(lib.mul(w!, w!))),
          });
          return { run: () => [step()], layouts: [] };
        },
      })
    );
    assert.equal(training.loss1, 1);
    assert.ok(Math.abs(training.loss3! - 0.64) < 0.01);
    assert.equal(training.check, training.loss3);
  },
});

Deno.test("withShares() divides by the peaks", () => {
  const shares = withShares(measured({ gflops: 10, gbps: 5 }), peaks);
  assert.equal(shares.gflops_share, 0.25);
  assert.equal(shares.gbps_share, 0.25);
  assert.equal(withShares(measured(), peaks).gflops_share, undefined);
});

Deno.test("ratio() is given only where results agree", () => {
  const ours = measured({ loss1: 2, loss3: 1 });
  const peer = { ...ours, lib: "peer", ms_median: 25 };
  assert.equal(ratio(ours, peer), 2.5);
  assert.equal(ratio(ours, { ...peer, loss1: 2.001 }), 2.5);
  assert.equal(ratio(ours, { ...peer, loss1: 2.01 }), null);
  assert.equal(ratio(ours, { ...peer, check: NaN }), null);
  const none = { lib: "peer", item: ours.item, unsupported: "no gradient" };
  assert.equal(ratio(ours, none), null);
  assert.deepEqual(disagreements(ours, { ...peer, check: 3 }), [
    "check 3 instead of 1",
  ]);
});

Deno.test("summaryOf() compares with the better peer, and names what has no ratio", () => {
  const ours = measured();
  const a = { ...ours, lib: "a", ms_median: 40 };
  const b = { ...ours, lib: "b", ms_median: 20 };
  const none = { lib: "b", item: ours.item, unsupported: "no gradient" };
  const slower = { ...ours, lib: "a", ms_median: 5, device: "a CPU" };
  const text = summaryOf([
    { ours, peers: [a, b] }, // 2
    { ours, peers: [slower, none] }, // 0.5
  ], peaks);
  assert.equal(
    text[1],
    "denoise on an adapter; a on an adapter; b on an adapter; a on a CPU.",
  );
  assert.match(text[2]!, /geometric mean of 2 items: 1\.00; .* 1 of 2/);
  assert.deepEqual(text.slice(3), ["b, matmul_512: no gradient."]);
  assert.equal(summaryOf([{ ours, peers: [] }], peaks).length, 1);
});

Deno.test("summaryOf() and tableOf() do without peers that have nothing", () => {
  const ours = measured();
  const reasons = ["no kernel Conv2DBackpropFilter", "no result within 9 s"];
  const peers = reasons.map((unsupported, i) => ({
    lib: "ab"[i]!,
    item: ours.item,
    unsupported,
  }));
  const next = { ours: measured({ item: "attn_fwd" }), peers };
  const [, row] = tableOf([{ ours, peers }, next]);
  assert.deepEqual(row!.slice(-4), ["no kernel", "", "none", ""]);
  assert.deepEqual(summaryOf([{ ours, peers }, next], peaks).slice(1), [
    "denoise on an adapter.",
    "a, matmul_512, attn_fwd: no kernel Conv2DBackpropFilter.",
    "b, matmul_512, attn_fwd: no result within 9 s.",
  ]);
});

Deno.test("tableOf() has a column of times and of ratios per peer", () => {
  const ours = measured();
  const peer = { ...ours, lib: "peer", ms_median: 25 };
  const [head, row] = tableOf([{ ours, peers: [peer] }]);
  assert.deepEqual(head!.slice(-2), ["peer ms", "ratio"]);
  assert.deepEqual(row!.slice(-2), ["25.00", "2.50"]);
  assert.match(
    markdownTable([head!, row!]),
    /^\| item \|.*\n\| --- \| ---: \|/,
  );
});

Deno.test("bench takes the libraries that it knows, and hints at the one that was meant", () => {
  const parse = (...args: string[]) => parseCommand(command, args).flags;
  const all = ["tfjs", "jax-js", "tfjs-wasm", "ort-wasm"];
  assert.deepEqual(parse("--vs", all.join()).vs, all);
  assert.equal(parse("--device", "cpu").device, "cpu");
  assert.throws(() => parse("--vs", "tfjs,ort-wsm"), /ort-wasm/);
  assert.throws(() => parse("--device", "gpus"), /webgpu/);
});

Deno.test("cpuName() counts threads", () => {
  assert.equal(cpuName(1), "CPU (1 thread, WebAssembly SIMD)");
  assert.equal(cpuName(2), "CPU (2 threads, WebAssembly SIMD)");
});
