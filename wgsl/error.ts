/**
 * What is wrong with a WGSL text, and where.
 *
 * @module
 */
import type { Position } from "./tree.ts";

/** A mistake in a WGSL source; the message begins with `file:line:column`. */
export class WgslError extends SyntaxError {
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1, in UTF-16 units. */
  readonly column: number;
  /** Name of the source. */
  readonly file: string;
  readonly #problem: string;

  /**
   * A mistake at a place.
   *
   * @param problem What is wrong; after a semicolon what to write instead.
   * @param file Name of the source for the message.
   * @param at Where.
   */
  constructor(problem: string, file: string, at: Position) {
    super(`${file}:${at.line}:${at.column}: ${problem}`);
    this.name = "WgslError";
    this.file = file;
    this.line = at.line;
    this.column = at.column;
    this.#problem = problem;
  }

  /** The same mistake, with the name of the source. */
  in(file: string): WgslError {
    return new WgslError(this.#problem, file, this);
  }
}

/** Throws a `WgslError`; who knows the name of the source adds it. */
export function fail(problem: string, at: Position): never {
  throw new WgslError(problem, "wgsl", at);
}
