/**
 * Four words that are written side by side become one vector that is written at once.
 *
 * @module
 */
import {
  binary,
  type Expr,
  join,
  keyOf,
  lanesOf,
  mapBodies,
  offsetOf,
  partsOf,
  type Stmt,
} from "./ir.ts";

type Store = Stmt & { op: "store" };

/** Statements in which stores that follow each other in memory, too, are one where they can be. */
export function mergeStores(body: readonly Stmt[]): readonly Stmt[] {
  const out: Stmt[] = [];
  for (let i = 0; i < body.length; i++) {
    const four = body.slice(i, i + 4);
    if (four.length === 4 && follow(four)) {
      out.push(merged(four));
      i += 3;
    } else out.push(mapBodies(body[i]!, mergeStores));
  }
  return out;
}

/** Whether four statements write words that lie side by side, none of which they read. */
function follow(four: readonly Stmt[]): four is readonly Store[] {
  const first = four[0]!;
  if (first.op !== "store") return false;
  const { memory, stride, offset } = first.address;
  const [base, start] = placeOf(first);
  return four.every((s, i) => {
    if (s.op !== "store" || s.value.shape.width > 1) return false;
    const { address, value } = s;
    if (reads(value) || reads(address.index)) return false;
    const [rest, at] = placeOf(s);
    return value.shape.kind === first.value.shape.kind &&
      address.memory === memory && address.stride === stride &&
      stride * (at - start) + address.offset - offset === 4 * i &&
      rest === base;
  });
}

/** What the index of a store has in common with its neighbours, and what not. */
function placeOf({ address: { index } }: Store): [string, number] {
  if (index.op !== "limit") {
    const [rest, offset] = offsetOf(index);
    return [rest ? keyOf(rest) : "", offset];
  }
  const [rest, offset] = offsetOf(index.index);
  return [`limit ${keyOf(index.count)} ${rest && keyOf(rest)}`, offset];
}

/** Whether a value comes from memory that may change. */
function reads(e: Expr): boolean {
  return e.op === "load" && !e.address.memory.constant ||
    partsOf(e).some(reads);
}

function merged(four: readonly Store[]): Stmt {
  const [first, , , last] = four as [Store, Store, Store, Store];
  const whole = (index: Expr): Stmt => ({
    op: "store",
    address: { ...first.address, index },
    value: vector(four.map((s) => s.value)),
  });
  const from = first.address.index, to = last.address.index;
  if (from.op !== "limit" || to.op !== "limit") return whole(from);
  // Both ends in range, so is what is between them: there are fewer than 2^30 words.
  const inside = (index: Expr) => binary("lt", index, from.count);
  return {
    op: "if",
    condition: binary("and", inside(from.index), inside(to.index)),
    then: [whole(from.index)],
    else: four,
  };
}

function vector(parts: readonly Expr[]): Expr {
  const first = parts[0]!;
  const source = first.op === "lanes" ? first.value : null;
  const same = source &&
    parts.every((part) =>
      part.op === "lanes" && keyOf(part.value) === keyOf(source)
    );
  return same
    ? lanesOf(source, parts.map((p) => p.op === "lanes" ? p.lanes[0]! : 0))
    : join(parts);
}
