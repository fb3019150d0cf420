/**
 * WGSL compute kernels as WebAssembly.
 *
 * @module
 */
import { checkWgsl } from "./check.ts";
import { emit } from "./emit.ts";
import type { CompiledKernel, CompileOptions } from "./kernel_abi.ts";
import { prefersLanes, vectorize } from "./lanes.ts";
import type { Lowered } from "./ir.ts";
import { lower } from "./lower.ts";
import { optimize } from "./loops.ts";
import { mergeStores } from "./stores.ts";
import { hasRelaxedSimd } from "./wasm.ts";

/**
 * Compiles an entry point of a WGSL source to a WebAssembly module that runs ranges of its
 * workgroups. How it is called is described at `CompiledKernel`.
 *
 * @param source WGSL text: compute shaders without textures and half floats.
 * @param options Entry point, values of `override` constants, and what the runtime offers.
 * @throws {WgslError} If the source is wrong or uses what is not supported; the message says where
 *   and what to write instead.
 */
export function compileWgsl(
  source: string,
  options: CompileOptions,
): CompiledKernel {
  const { entryPoint, constants = {}, label = "wgsl" } = options;
  const { relaxed = hasRelaxedSimd(), shared = true } = options;
  const program = checkWgsl(source, { entryPoint, constants, label });
  const plain = lower(program, label);
  const lanes = options.lanes ?? prefersLanes(plain) ? vectorize(plain) : null;
  const finish = (kernel: Lowered): Lowered => {
    const { body, ...rest } = optimize(kernel);
    return { ...rest, body: mergeStores(body) };
  };
  const vector = lanes &&
    { ...lanes, body: finish({ ...plain, ...lanes }).body };
  const lowered = finish(plain);
  const { bytes, scratchBytes } = emit(lowered, vector, { relaxed, shared });
  return {
    bytes,
    workgroupSize: lowered.workgroupSize,
    bindings: program.bindings.map(({ name, binding, space, access }) => ({
      name,
      binding: binding!,
      kind: space === "uniform" ? "uniform" : access ?? "read",
    })),
    scratchBytes,
  };
}
