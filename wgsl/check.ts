/**
 * From WGSL text to the typed tree of one entry point: only what it reaches is checked and kept.
 *
 * @module
 */
import { checkEntry } from "./check_entry.ts";
import { checkAssert, checkFunction, constantOf } from "./check_function.ts";
import {
  checkAttributes,
  checkStruct,
  checkVariable,
  overrideValue,
} from "./check_global.ts";
import { resolveType } from "./check_type.ts";
import { fail, WgslError } from "./error.ts";
import { constantScope, type Entity, type Scope, unknown } from "./scope.ts";
import { parse } from "./parser.ts";
import type { GlobalSyntax, ModuleSyntax } from "./syntax.ts";
import type { Position, Program, Variable } from "./tree.ts";

/** What to check of a source. */
export interface CheckOptions {
  /** Name of a function marked `@compute`. */
  entryPoint: string;
  /** Values of overrides, by name, or by number where they have an `@id`. */
  constants?: Readonly<Record<string, number>>;
  /** Name of the source for messages; defaults to `wgsl`. */
  label?: string;
}

/** Sources that were parsed before: kernels have several entry points and many constants. */
const parsed = new Map<string, ModuleSyntax>();
const MOST_PARSED = 64;

function parseOnce(source: string): ModuleSyntax {
  let syntax = parsed.get(source);
  if (!syntax) {
    syntax = parse(source);
    if (parsed.size === MOST_PARSED) parsed.clear();
    parsed.set(source, syntax);
  }
  return syntax;
}

/**
 * Checks an entry point and all that it reaches.
 *
 * @throws {WgslError} At the first mistake, with its line and column.
 */
export function checkWgsl(source: string, options: CheckOptions): Program {
  const label = options.label ?? "wgsl";
  try {
    return new Module(parseOnce(source), options.constants ?? {})
      .program(options.entryPoint);
  } catch (error) {
    if (error instanceof WgslError) throw error.in(label);
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      const at = { line: 1, column: 1 };
      throw new WgslError("Too deeply nested; split it up", label, at);
    }
    throw error;
  }
}

/** How many declarations may wait for one another: functions that call functions that … */
const DEEPEST = 100;

/** The names of a module. What they stand for is found out when someone asks. */
class Module implements Scope {
  readonly #syntax: ModuleSyntax;
  readonly #constants: Readonly<Record<string, number>>;
  readonly #entities = new Map<string, Entity>();
  /** Names whose meaning is being found out. */
  readonly #pending: string[] = [];
  readonly #reached: Variable[] = [];

  constructor(
    syntax: ModuleSyntax,
    constants: Readonly<Record<string, number>>,
  ) {
    this.#syntax = syntax;
    this.#constants = constants;
  }

  program(entryPoint: string): Program {
    const syntax = this.#syntax.globals.get(entryPoint);
    const start = { line: 1, column: 1 };
    const isEntry = (global?: GlobalSyntax) =>
      global?.op === "function" &&
      global.attributes.some((attribute) => attribute.name === "compute");
    if (syntax?.op !== "function" || !isEntry(syntax)) {
      if (syntax) {
        fail(`${entryPoint} is no entry point; mark it @compute`, syntax.at);
      }
      const entries = [...this.#syntax.globals.values()].filter(isEntry);
      unknown(
        entryPoint,
        "entry point",
        entries.map(({ name }) => name),
        start,
      );
    }
    this.#checkConstants(syntax.at);
    for (const assert of this.#syntax.asserts) checkAssert(assert, this);
    this.#pending.push(entryPoint);
    const entry = checkEntry(syntax, this, (name) => {
      const global = this.#syntax.globals.get(name);
      return global?.op === "struct" ? global : null;
    });
    const bindings = this.#reached
      .filter((variable) => variable.binding !== undefined)
      .sort((a, b) => a.binding! - b.binding!);
    for (const [i, variable] of bindings.entries()) {
      const before = bindings[i - 1];
      if (before?.binding === variable.binding) {
        fail(
          `${variable.name} and ${
            before!.name
          } have the same binding; renumber one`,
          variable.at,
        );
      }
    }
    const globals = this.#reached.filter((variable) =>
      variable.binding === undefined
    );
    return { ...entry, bindings, globals };
  }

  #checkConstants(at: Position): void {
    const keys = new Map<string, string>();
    for (const global of this.#syntax.globals.values()) {
      if (global.op !== "declare" || global.keyword !== "override") continue;
      const { attributes, name } = global;
      const id = attributes.find((attribute) => attribute.name === "id");
      const [arg] = id?.args ?? [];
      keys.set(arg?.op === "number" ? String(parseInt(arg.text)) : name, name);
    }
    for (const key of Object.keys(this.#constants)) {
      if (!keys.has(key)) unknown(key, "override", keys.keys(), at);
    }
  }

  names(): Iterable<string> {
    return this.#syntax.globals.keys();
  }

  lookup(name: string, at: Position): Entity | null {
    const known = this.#entities.get(name);
    if (known) return known;
    const syntax = this.#syntax.globals.get(name);
    if (!syntax) return null;
    if (this.#pending.includes(name)) {
      fail(
        syntax.op === "function"
          ? `${name}() calls itself${
            this.#pending.at(-1) === name ? "" : " by way of others"
          }; write a loop`
          : `${name} depends on itself; write its value`,
        at,
      );
    }
    if (this.#pending.length > DEEPEST) {
      fail(
        `${name} stands at the end of a chain of ${DEEPEST} others; shorten it`,
        at,
      );
    }
    this.#pending.push(name);
    const entity = this.#resolve(syntax);
    this.#pending.pop();
    this.#entities.set(name, entity);
    return entity;
  }

  #resolve(syntax: GlobalSyntax): Entity {
    switch (syntax.op) {
      case "struct":
        return { kind: "type", type: checkStruct(syntax, this) };
      case "alias":
        return { kind: "type", type: resolveType(syntax.type, this) };
      case "function":
        checkAttributes(
          syntax.attributes,
          ["must_use"],
          `function ${syntax.name}, which is called`,
        );
        return { kind: "function", function: checkFunction(syntax, this) };
    }
    if (syntax.keyword === "const") {
      const operand = constantOf(syntax, constantScope(this));
      return { kind: "constant", operand };
    }
    if (syntax.keyword === "override") {
      const operand = overrideValue(syntax, this, this.#constants);
      return { kind: "constant", operand, isOverride: true };
    }
    const variable = checkVariable(syntax, this);
    this.#reached.push(variable);
    return { kind: "variable", variable };
  }
}
