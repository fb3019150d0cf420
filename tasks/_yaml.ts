/**
 * YAML 1.2 under the names of `@std/yaml`; the only module that names the
 * package.
 *
 * @module
 */
import { dump, load } from "npm:js-yaml@5.5.0";

/**
 * Reads one YAML document.
 *
 * @param text The document; an empty one is `undefined`.
 * @returns Mappings as objects, sequences as arrays, scalars by the core schema.
 * @throws {SyntaxError} With line and column, if the text does not parse.
 */
export function parse(text: string): unknown {
  if (text.split("\n").every((line) => /^\s*(#.*)?$/.test(line))) {
    return undefined;
  }
  try {
    return load(text);
  } catch (error) {
    const { reason, mark } = error as {
      reason?: string;
      mark?: { line: number; column: number };
    };
    const where = mark
      ? ` (line ${mark.line + 1}, column ${mark.column + 1})`
      : "";
    throw new SyntaxError(`${reason ?? (error as Error).message}${where}`);
  }
}

/**
 * Writes a value as YAML, short lists on one line, `undefined` left out.
 *
 * @param value Plain objects, arrays, strings, finite numbers, booleans, null.
 * @returns The document, ending in a line break.
 */
export function stringify(value: unknown): string {
  // Through JSON, which drops undefined; mappings deeper than two levels flow.
  const plain: unknown = JSON.parse(JSON.stringify(value));
  return dump(plain, { lineWidth: -1, flowLevel: 2 });
}
