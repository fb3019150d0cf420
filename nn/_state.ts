/**
 * Saved values and their way back into tensors, all or nothing.
 *
 * @module
 */
import { copyInPlace } from "../tensor/fill.ts";
import type { HostTensor } from "../tensor/safetensors.ts";
import { overwrite, show, sizeOf, Tensor } from "../tensor/tensor.ts";

/** Tensors and host arrays by name: what `stateDict` gives, and a safetensors file holds. */
export type StateDict = Record<string, Tensor | HostTensor>;

/** How a state is loaded. */
export interface LoadStateOptions {
  /** Whether missing and unexpected entries are an error; defaults to true. Shapes always count. */
  strict?: boolean;
  /** Only entries whose names begin with this are looked at, without it; defaults to `""`. */
  prefix?: string;
}

/** What did not match when a state was loaded with `strict: false`. */
export interface LoadStateResult {
  /** Names that the state lacks. */
  missing: string[];
  /** Names that nothing wants. */
  unexpected: string[];
}

/** Problems of each kind that a message spells out. */
const SHOWN = 20;

/** Puts a prefix before every name. */
export function prefixed<T>(
  prefix: string,
  entries: Readonly<Record<string, T>>,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(entries).map(([name, value]) => [prefix + name, value]),
  );
}

/**
 * Copies `entries` into `targets` of the same names; nothing is changed if anything is wrong.
 *
 * @param owner Whose state it is, for messages.
 * @param optional Entries that may be there although there is no target for them.
 * @throws {TypeError} Naming all entries that are missing, unexpected, or differ in shape or type.
 */
export function loadInto(
  owner: string,
  targets: Readonly<StateDict>,
  entries: Readonly<StateDict>,
  { strict = true, prefix = "" }: LoadStateOptions = {},
  optional: (name: string) => boolean = () => false,
): LoadStateResult {
  const found = new Map(
    Object.entries(entries)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length), value]),
  );
  const missing: string[] = [], misfits: string[] = [];
  const copies: (() => void)[] = [];
  for (const [name, to] of Object.entries(targets)) {
    const from = found.get(name);
    if (!from) missing.push(name);
    else if (!fits(to, from)) {
      misfits.push(`${name} is ${describe(from)}, want ${describe(to)}`);
    } else copies.push(() => copy(to, from));
  }
  const unexpected = [...found.keys()].filter((name) =>
    !Object.hasOwn(targets, name) && !optional(name)
  );
  const problems = list("different", misfits);
  if (strict) {
    const withShape = (name: string) =>
      `${name} ${show((found.get(name) ?? targets[name]!).shape)}`;
    problems.unshift(
      ...list("missing", missing.map(withShape)),
      ...list("unexpected", unexpected.map(withShape)),
    );
  }
  if (problems.length > 0) {
    throw new TypeError(
      `Cannot load the state of ${owner} as names, shapes and types must match: ${
        problems.join("; ")
      }`,
    );
  }
  for (const run of copies) run();
  return { missing, unexpected };
}

function list(kind: string, items: readonly string[]): string[] {
  if (items.length === 0) return [];
  const rest = items.length - SHOWN;
  return [
    `${kind} (${items.length}): ${items.slice(0, SHOWN).join(", ")}` +
    (rest > 0 ? ` and ${rest} more` : ""),
  ];
}

function fits(to: Tensor | HostTensor, from: Tensor | HostTensor): boolean {
  if (to.dtype !== from.dtype || to.shape.join() !== from.shape.join()) {
    return false;
  }
  if (from instanceof Tensor) return to instanceof Tensor && !from.isDisposed;
  return from.data.length === sizeOf(from.shape);
}

function describe(value: Tensor | HostTensor): string {
  const text = `${value.dtype}${show(value.shape)}`;
  if (value instanceof Tensor) {
    return text + (value.isDisposed ? ", freed" : "");
  }
  const { length } = value.data;
  return length === sizeOf(value.shape)
    ? text
    : `${text} of ${length} elements`;
}

function copy(to: Tensor | HostTensor, from: Tensor | HostTensor): void {
  if (!(to instanceof Tensor)) to.data.set((from as HostTensor).data);
  else if (!(from instanceof Tensor)) overwrite(to, from.data);
  else if (from.storage !== to.storage) copyInPlace(to, from);
}
