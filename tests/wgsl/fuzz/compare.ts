/**
 * Whether a program does the same interpreted and compiled.
 *
 * @module
 */
import { checkWgsl } from "../../../wgsl/check.ts";
import { WgslError } from "../../../wgsl/error.ts";
import { hasRelaxedSimd } from "../../../wgsl/wasm.ts";
import { run, type Words } from "../_run.ts";
import type { Generated } from "./generate.ts";
import { interpret, TooLong } from "./interpret.ts";
import { type Node, show, shrink } from "./node.ts";

/** Statements that a program may take. */
const STEPS = 30_000;

/** What became of a program: the same, nothing (it is too long, or its constants overflow), or why not. */
export type Verdict = "same" | "skipped" | { readonly difference: string };

/** The first word in which two sets of buffers differ, or null. Zeros are zeros. */
export function firstDifference(
  got: Readonly<Record<string, Words>>,
  want: Readonly<Record<string, Words>>,
): string | null {
  for (const [name, words] of Object.entries(want)) {
    const { buffer, byteOffset, length } = got[name]!;
    const bits = new Uint32Array(buffer, byteOffset, length);
    for (const [i, word] of words.entries()) {
      if (bits[i] !== word && ((bits[i]! | word) & 0x7fffffff) !== 0) {
        return `${name}[${i}] is ${bits[i]} (${hex(bits[i]!)}), want ${word} (${
          hex(word)
        })`;
      }
    }
  }
  return null;
}

function hex(word: number): string {
  return `0x${word.toString(16).padStart(8, "0")}`;
}

/** What a program leaves in its buffers; null if that takes too long or it is refused. */
export function expected(
  { node, job, constants }: Generated,
): Record<string, Uint32Array> | null {
  try {
    const options = { entryPoint: "main", constants };
    return interpret(checkWgsl(show(node), options), job, STEPS);
  } catch (error) {
    if (error instanceof TooLong || error instanceof WgslError) return null;
    throw error;
  }
}

/** Runs a program as it is meant and as it is compiled, with and without lanes. */
export function compare(program: Generated): Verdict {
  const { node, job, constants } = program;
  const want = expected(program);
  if (!want) return "skipped";
  const relaxed = program.exact && hasRelaxedSimd();
  for (const lanes of [false, true]) {
    const how = lanes ? "four at a time" : "one by one";
    try {
      const got = run(show(node), job, { constants, lanes, relaxed });
      const difference = firstDifference(got, want);
      if (difference) return { difference: `${how}: ${difference}` };
    } catch (error) {
      return { difference: `${how}: ${error}` };
    }
  }
  return "same";
}

/** The text of a smaller program that differs in some way too. */
export function smallest(
  program: Generated,
  differs: (program: Generated) => boolean,
): string {
  const holds = (node: Node): boolean => {
    try {
      return differs({ ...program, node });
    } catch {
      return false;
    }
  };
  return show(shrink(program.node, holds, 4000));
}
