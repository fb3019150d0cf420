/** Every kernel of the project is checked, joined from files as the `Kernel` beside it joins them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { checkWgsl } from "../../wgsl/check.ts";
import { WgslError } from "../../wgsl/error.ts";

const root = new URL("../../", import.meta.url);
const FOLDERS = ["bench", "kernels", "models", "nn", "tensor"];

/** Source texts by the names of files, from `import x from "./x.wgsl"` and `new Kernel(…)`. */
function kernelsOf(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const file of readdirSync(new URL(`${folder}/`, root))) {
    if (!file.endsWith(".ts")) continue;
    const here = new URL(`${folder}/${file}`, root);
    const text = readFileSync(here, "utf8");
    const imports = new Map(
      [...text.matchAll(/import (\w+) from "(.*\.wgsl)"/g)].map((
        [, name, path],
      ) => [name!, new URL(path!, here)]),
    );
    const made = text.matchAll(/new Kernel\(\s*"\w+",([^)]*)\)/g);
    for (const [, list] of made) {
      const names = list!.split(",").map((name) => name.trim()).filter(Boolean);
      const sources = names.map((name) =>
        readFileSync(imports.get(name)!, "utf8")
      );
      found.set(`${folder}/${file} ${names.join("+")}`, sources.join("\n"));
    }
  }
  return found;
}

const kernels = FOLDERS.flatMap((folder) => [...kernelsOf(folder)]);

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
  for (const [label, source] of kernels) {
    const entries = [...source.matchAll(/@compute[^{]*?fn (\w+)/g)];
    const overrides = [...source.matchAll(/^override (\w+): \w+;/gm)];
    for (const [, entryPoint] of entries) {
      if (needsSubgroups(source, entryPoint!)) continue;
      count++;
      for (const value of [0, 1, 2, 5, 30]) {
        // WHICH counts the components of a vec2.
        const constants = Object.fromEntries(
          overrides.map(([, name]) => [
            name!,
            name === "WHICH" ? value % 2 : value,
          ]),
        );
        const options = { entryPoint: entryPoint!, constants, label };
        const program = checkWgsl(source, options);
        assert.equal(program.entry.name, entryPoint);
        assert(program.workgroupSize.every((size) => size >= 1));
        assert(program.bindings.length > 0);
      }
    }
  }
  assert(count > 80, `only ${count} entry points were found`);
});
