/**
 * Random programs on WebGPU, through the project's own executor.
 *
 * @module
 */
import type { DeviceBuffer, Executor } from "../../../tensor/executor.ts";
import { findAdapter, openWebGpu } from "../../../tensor/webgpu.ts";
import type { Words } from "../_run.ts";
import type { Generated } from "./generate.ts";
import { show } from "./node.ts";

/** The executor of an adapter, or null if there is none. */
export async function openDevice(): Promise<Executor | null> {
  const adapter = await findAdapter().catch(() => null);
  return adapter && await openWebGpu(adapter);
}

/** Runs programs one after another and reads their buffers, of all of them in one go. */
export async function runOnDevice(
  executor: Executor,
  programs: readonly Generated[],
): Promise<Record<string, Words>[]> {
  const given = programs.map((program) => enqueue(executor, program));
  const results = await Promise.all(given.map(async (buffers) => {
    const words: Record<string, Words> = {};
    for (const [name, { buffer, bytes }] of buffers) {
      words[name] = new Uint32Array(await executor.read(buffer, bytes));
    }
    return words;
  }));
  executor.destroy(
    given.flatMap((buffers) => [...buffers.values()].map((b) => b.buffer)),
  );
  return results;
}

function enqueue(
  executor: Executor,
  { node, job, constants }: Generated,
): Map<string, { buffer: DeviceBuffer; bytes: number }> {
  const source = show(node);
  const bindings = [
    ...source.matchAll(
      /@binding\((\d+)\) var<storage, (read|read_write)> (\w+)/g,
    ),
  ].map(([, binding, access, name]) => ({
    binding: Number(binding),
    writable: access === "read_write",
    name: name!,
  }));
  const buffers = new Map(bindings.map(({ name }) => {
    const words = job.buffers[name]!;
    const buffer = executor.allocate(words.byteLength, () => name);
    executor.write(buffer, words as Uint32Array<ArrayBuffer>);
    return [name, { buffer, bytes: words.byteLength }];
  }));
  const params = new Uint8Array(
    (job.uniform as Uint32Array<ArrayBuffer>).buffer.slice(0),
  );
  const pipeline = executor.compile({
    label: "fuzz.main",
    source,
    entryPoint: "main",
    constants,
    paramsBytes: params.byteLength,
    bindings,
  });
  executor.dispatch({
    pipeline,
    windows: bindings.map(({ name }) => {
      const { buffer, bytes } = buffers.get(name)!;
      return { buffer, offset: 0, bytes: buffer.bytes, used: bytes };
    }),
    params,
    live: [],
    groups: job.groups ?? [1, 1, 1],
    what: () => "fuzz.main",
  });
  return buffers;
}
