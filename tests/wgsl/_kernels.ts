/**
 * The WGSL sources of the project, found in the files that import them.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";

const root = new URL("../../", import.meta.url);

/** A source as its `Kernel` joins it. */
export interface KernelSource {
  /** The file that makes the `Kernel`, and the texts it joins: `kernels/cast.ts fours+source`. */
  readonly name: string;
  readonly source: string;
  /** Names of its `@compute` functions. */
  readonly entries: readonly string[];
}

/** All sources of the folders, from `import x from "./x.wgsl"` and `new Kernel(…)`. */
export function sourcesOf(
  folders: readonly string[] = ["kernels", "models", "nn", "tensor"],
): KernelSource[] {
  return folders.flatMap(sourcesIn);
}

function sourcesIn(folder: string): KernelSource[] {
  const found: KernelSource[] = [];
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
      const source = names.map((name) =>
        readFileSync(imports.get(name)!, "utf8")
      ).join("\n");
      const entries = [...source.matchAll(/@compute[^{]*?fn (\w+)/g)];
      found.push({
        name: `${folder}/${file} ${names.join("+")}`,
        source,
        entries: entries.map(([, entry]) => entry!),
      });
    }
  }
  return found;
}
