/**
 * What names mean.
 *
 * @module
 */
import { fail } from "./error.ts";
import type { Operand } from "./operand.ts";
import type { FunctionNode, Position, Type, Variable } from "./tree.ts";

/** What a name stands for. */
export type Entity =
  | { readonly kind: "type"; readonly type: Type }
  | {
    readonly kind: "constant";
    readonly operand: Operand;
    readonly isOverride?: boolean;
  }
  | { readonly kind: "variable"; readonly variable: Variable }
  | { readonly kind: "function"; readonly function: FunctionNode };

/** Where names are looked up. */
export interface Scope {
  /** What a text has declared under a name; null if nothing. */
  lookup(name: string, at: Position): Entity | null;
  /** All names that can be seen, for hints. */
  names(): Iterable<string>;
}

/** A scope without overrides: what is known before any pipeline is made. */
export function constantScope(scope: Scope): Scope {
  return {
    lookup(name, at) {
      const entity = scope.lookup(name, at);
      if (entity?.kind === "constant" && entity.isOverride) {
        fail(`${name} is an override; write a const here`, at);
      }
      return entity;
    },
    names: () => scope.names(),
  };
}

/** Throws the error of a name that means nothing, with the nearest that does. */
export function unknown(
  name: string,
  what: string,
  candidates: Iterable<string>,
  at: Position,
): never {
  let best: string | null = null, least = Math.min(3, name.length);
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  fail(
    `Unknown ${what} ${name}; ${
      best ? `did you mean ${best}?` : "declare it, or correct its name"
    }`,
    at,
  );
}

function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + Number(a[i - 1] !== b[j - 1]),
      ));
    }
    row = next;
  }
  return row[b.length]!;
}
