/** Every kernel of the project is checked, joined from files as the `Kernel` beside it joins them. */
import assert from "node:assert/strict";
import { checkWgsl } from "../../wgsl/check.ts";
import { compileWgsl } from "../../wgsl/compile.ts";
import { WgslError } from "../../wgsl/error.ts";
import { sourcesOf } from "./_kernels.ts";

const FOLDERS = ["bench", "kernels", "models", "nn", "tensor"];

/** Subgroups are for drivers only: what needs them is refused politely. */
function needsSubgroups(source: string, entryPoint: string): boolean {
  if (!source.includes("subgroupShuffle(")) return false;
  try {
    checkWgsl(source, { entryPoint });
    return false;
  } catch (error) {
    assert(error instanceof WgslError, String(error));
    assert.match(error.message, /not supported; /);
    return true;
  }
}

Deno.test("checkWgsl() takes every entry point of every kernel, for several constants", () => {
  let count = 0;
  for (const { name: label, source, entries } of sourcesOf(FOLDERS)) {
    const overrides = [...source.matchAll(/^override (\w+): \w+;/gm)];
    for (const entryPoint of entries) {
      if (needsSubgroups(source, entryPoint)) continue;
      count++;
      for (const value of [0, 1, 2, 5, 30]) {
        // WHICH counts the components of a vec2.
        const constants = Object.fromEntries(
          overrides.map(([, name]) => [
            name!,
            name === "WHICH" ? value % 2 : value,
          ]),
        );
        const options = { entryPoint, constants, label };
        const program = checkWgsl(source, options);
        assert.equal(program.entry.name, entryPoint);
        assert(program.workgroupSize.every((size) => size >= 1));
        assert(program.bindings.length > 0);
      }
    }
  }
  assert(count > 80, `only ${count} entry points were found`);
});

Deno.test("compileWgsl() makes a module of every entry point, both for one invocation and for four", () => {
  for (const { name: label, source, entries } of sourcesOf(FOLDERS)) {
    const overrides = [...source.matchAll(/^override (\w+): \w+;/gm)];
    const constants = Object.fromEntries(
      overrides.map(([, name]) => [name!, 1]),
    );
    for (const entryPoint of entries) {
      if (needsSubgroups(source, entryPoint)) continue;
      for (const lanes of [false, true]) {
        const options = { entryPoint, constants, label, lanes };
        const { bytes } = compileWgsl(source, options);
        assert(WebAssembly.validate(bytes), `${label} ${entryPoint}`);
      }
    }
  }
});
