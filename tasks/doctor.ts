/**
 * `deno task doctor`: what the machine offers, and whether the kernels compute what they should.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { cacheDir } from "../datasets/cache.ts";
import {
  abs,
  add,
  attention,
  conv2d,
  deviceInfo,
  gradients,
  groupNorm,
  matmul,
  memory,
  mul,
  Rng,
  scope,
  silu,
  softmax,
  sub,
  sum,
  sync,
  type Tensor,
} from "../mod.ts";
import { CpuExecutor } from "../tensor/cpu.ts";
import { deviceChoice, executor } from "../tensor/device.ts";
import { listAdapters } from "../tensor/webgpu.ts";
import { defineCommand, type Parsed, readEnv, runTask } from "./_cli.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes, formatDuration, formatTable } from "./_text.ts";

/** What `deno task doctor` accepts. */
export const command = defineCommand({
  ...taskInfo("doctor"),
  flags: { ...deviceFlag },
  notes:
    "The self-test compares the gradients of several kernels with differences of their values. Exit code 1 if one is wrong, or if there is no device.",
});

const rng = new Rng(20);
/** Each returns a tensor from random inputs of the given shapes. */
const PROBES: [
  name: string,
  shapes: number[][],
  f: (...inputs: Tensor[]) => Tensor,
][] = [
  ["elementwise", [[3, 5], [5]], (a, b) => silu(add(mul(a!, b!), b!))],
  ["softmax", [[4, 7]], (x) => softmax(x!)],
  ["matmul", [[5, 9], [9, 3]], (a, b) => matmul(a!, b!)],
  [
    "conv2d",
    [[2, 3, 5, 5], [4, 3, 3, 3]],
    (x, w) => conv2d(x!, w!, undefined, { padding: 1 }),
  ],
  [
    "groupNorm",
    [[2, 4, 3, 3], [4], [4]],
    (x, w, b) => groupNorm(x!, 2, w!, b!),
  ],
  [
    "attention",
    [[2, 5, 4], [2, 5, 4], [2, 5, 4]],
    (q, k, v) => attention(q!, k!, v!),
  ],
];
const STEP = 1e-2, ALLOWED = 2e-2;

/** Largest difference between the slope along a random direction and the gradient's, per probe. */
async function selfTest(): Promise<{ name: string; error: number }[]> {
  const results = [];
  for (const [name, shapes, f] of PROBES) {
    const error = await scope(async () => {
      const inputs = shapes.map((shape) => rng.normal(shape).requireGrad());
      const directions = shapes.map((shape) => rng.normal(shape, 0, 0.3));
      const moved = (by: number) =>
        inputs.map((x, i) => add(x.detach(), mul(directions[i]!, by)));
      const y = f(...inputs);
      const weights = rng.uniform(y.shape, 0.5, 1.5);
      const loss = (at: Tensor[]) => sum(mul(f(...at), weights));
      const analytic = gradients(sum(mul(y, weights)), inputs)
        .map((gradient, i) => sum(mul(gradient, directions[i]!)))
        .reduce((a, b) => add(a, b));
      const numeric = mul(
        sub(loss(moved(STEP)), loss(moved(-STEP))),
        1 / (2 * STEP),
      );
      const [a, b] = await Promise.all([analytic.item(), numeric.item()]);
      return Math.abs(a - b) / Math.max(1, Math.abs(b));
    });
    results.push({ name, error });
  }
  return results;
}

/** Bytes per second of a large elementwise kernel, read and write together. */
async function copyRate(): Promise<number> {
  const n = 1 << 24;
  const x = rng.uniform([n]);
  abs(x).dispose();
  await sync();
  const start = performance.now();
  for (let i = 0; i < 4; i++) abs(x).dispose();
  await sync();
  x.dispose();
  return 4 * 8 * n / (performance.now() - start) * 1000;
}

/**
 * Prints the report.
 *
 * @param parsed The command line.
 * @returns The exit code: 1 if the self-test fails.
 */
export async function main(
  { json }: Parsed<typeof command.flags>,
): Promise<number> {
  const info = deviceInfo();
  const probes = await selfTest();
  const failed = probes.filter(({ error }) => !(error <= ALLOWED));
  const bytesPerSecond = await copyRate();
  const engine = executor();
  const report = {
    deno: Deno.version.deno,
    system: `${Deno.build.os} ${Deno.build.arch}`,
    choice: deviceChoice(),
    adapters: await listAdapters(),
    backend: readEnv("DENO_WEBGPU_BACKEND") ?? "chosen by the runtime",
    ...info,
    ...engine instanceof CpuExecutor ? { cpu: engine.stats } : {},
    bytesPerSecond,
    cache: cacheDir(),
    memory: memory(),
    selfTest: probes,
    ok: failed.length === 0,
  };
  if (json) {
    console.log(JSON.stringify(report, null, 2));
    return failed.length === 0 ? 0 : 1;
  }
  const rows = [
    ["Deno", `${report.deno} on ${report.system}`],
    ["Device", `${info.executor}, as ${report.choice.reason}`],
    [
      info.executor === "cpu" ? "Processor" : "Adapter",
      info.adapter +
      (info.executor === "webgpu" && info.software
        ? " (software: works, but slowly)"
        : ""),
    ],
    ["Identifiers", info.vendor],
    ["WebGPU adapters", report.adapters.join(", ") || "none"],
    ["WebGPU backend", report.backend],
    ["Features", info.features.join(", ") || "none"],
    ["Largest buffer", formatBytes(info.maxBufferBytes)],
    ["Largest binding", formatBytes(info.maxBindingBytes)],
    ["Storage buffers per kernel", String(info.maxStorageBuffers)],
    [
      "Workgroup",
      `${info.maxInvocations} invocations, ${
        formatBytes(info.maxSharedBytes)
      } shared`,
    ],
    ...report.cpu
      ? [[
        "Compiled",
        `${report.cpu.compiled} kernels in ${
          formatDuration(report.cpu.compileMs / 1000)
        }`,
      ]]
      : [],
    ["Copy rate", `${formatBytes(Math.round(bytesPerSecond))}/s`],
    ["Memory in use", formatBytes(report.memory.bytesInUse)],
    ["Data sets", report.cache],
    ...probes.map(({ name, error }) => [
      `Gradient of ${name}`,
      error <= ALLOWED
        ? `right (off by ${error.toExponential(1)})`
        : `WRONG: off by ${error}`,
    ]),
  ];
  console.log(formatTable(rows));
  if (failed.length === 0) return 0;
  console.log(
    `\n${failed.length} kernels compute wrong gradients on this device: update its driver, and ` +
      "please report the lines above",
  );
  return 1;
}

if (import.meta.main) await runTask(command, main);
