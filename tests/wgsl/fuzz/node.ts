/**
 * A program as a tree of texts, of which parts can be left out or replaced while a difference is
 * pinned down.
 *
 * @module
 */

/** A piece of a program. */
export interface Node {
  /** Of an expression its type; of statements empty. */
  readonly type: string;
  readonly parts: readonly (string | Node)[];
  /** Of an expression: whether it is a constant, which the checker may refuse to evaluate. */
  readonly constant: boolean;
}

/** An expression; constant if all of its parts are. */
export function expression(
  type: string,
  ...parts: readonly (string | Node)[]
): Node {
  const constant = parts.every((p) => typeof p === "string" || p.constant);
  return { type, parts, constant };
}

/** What is read from somewhere, so that it is no constant. */
export function reading(
  type: string,
  ...parts: readonly (string | Node)[]
): Node {
  return { type, parts, constant: false };
}

/** Statements, a function or a whole program. */
export function statement(...parts: readonly (string | Node)[]): Node {
  return { type: "", parts, constant: false };
}

/** The text. */
export function show(node: Node): string {
  return node.parts.map((p) => typeof p === "string" ? p : show(p)).join("");
}

function sizeOf(node: Node): number {
  return show(node).length;
}

/** The pieces inside a piece, largest first. */
function descendants(node: Node): Node[] {
  return node.parts.flatMap((p) =>
    typeof p === "string" ? [] : [p, ...descendants(p)]
  );
}

/** What might stand in the place of a piece. */
function simpler(node: Node): Node[] {
  const nothing = node.type === "" ? "" : `${node.type}()`;
  const inside = descendants(node).filter((d) => d.type === node.type);
  const all = [
    { ...node, parts: [nothing] },
    ...inside.sort((a, b) => sizeOf(a) - sizeOf(b)),
  ];
  return all.filter((candidate) => sizeOf(candidate) < sizeOf(node));
}

function replaced(node: Node, old: Node, by: Node): Node {
  if (node === old) return by;
  let changed = false;
  const parts = node.parts.map((p) => {
    if (typeof p === "string" || changed) return p;
    const part = replaced(p, old, by);
    changed ||= part !== p;
    return part;
  });
  return changed ? { ...node, parts } : node;
}

/**
 * Makes a program smaller as long as it keeps a property.
 *
 * @param attempts How many smaller programs are tried at most.
 */
export function shrink(
  program: Node,
  holds: (program: Node) => boolean,
  attempts: number,
): Node {
  let best = program;
  for (let changed = true; changed;) {
    changed = false;
    const pieces = descendants(best);
    for (const piece of pieces) {
      for (const by of simpler(piece)) {
        const candidate = replaced(best, piece, by);
        if (candidate === best) continue; // the piece is gone already
        if (--attempts < 0) return best;
        if (!holds(candidate)) continue;
        best = candidate;
        changed = true;
        break;
      }
    }
  }
  return best;
}
