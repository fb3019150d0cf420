/**
 * Entry points: what their parameters are told.
 *
 * @module
 */
import { checkBody } from "./check_function.ts";
import { checkAttributes, workgroupSize } from "./check_global.ts";
import { nameOf, resolveType } from "./check_type.ts";
import { fail } from "./error.ts";
import type { Scope } from "./scope.ts";
import type { Attribute, FunctionSyntax, StructSyntax } from "./syntax.ts";
import type {
  FunctionNode,
  InvocationBuiltin,
  Position,
  Program,
  Statement,
  Type,
  Variable,
} from "./tree.ts";
import { registerType, show } from "./types.ts";

const TYPES: Readonly<Record<InvocationBuiltin, Type>> = {
  local_invocation_id: registerType("u32", 3),
  local_invocation_index: registerType("u32", 1),
  global_invocation_id: registerType("u32", 3),
  workgroup_id: registerType("u32", 3),
  num_workgroups: registerType("u32", 3),
};

/** Checks an entry point. `structs` finds the text of a struct, as its members bear attributes. */
export function checkEntry(
  syntax: FunctionSyntax,
  scope: Scope,
  structs: (name: string) => StructSyntax | null,
): Pick<Program, "entry" | "builtins" | "workgroupSize"> {
  const { name, attributes, at } = syntax;
  checkAttributes(
    attributes,
    ["compute", "workgroup_size", "must_use"],
    `entry point ${name}`,
  );
  const size = attributes.find(({ name }) => name === "workgroup_size");
  if (!size) {
    fail(`${name} has no workgroup size; write @workgroup_size(64)`, at);
  }
  if (syntax.result) {
    fail(`Entry point ${name} returns a value; write it to storage`, at);
  }
  const parameters: Variable[] = [];
  const builtins: InvocationBuiltin[] = [];
  const first: Statement[] = [];
  const add = (
    name: string,
    type: Type,
    attributes: readonly Attribute[],
    at: Position,
  ): Variable => {
    const builtin = builtinOf(name, type, attributes, at);
    if (builtins.includes(builtin)) {
      fail(`${name} is a second ${builtin}; remove one`, at);
    }
    builtins.push(builtin);
    const variable: Variable = {
      name,
      type,
      kind: "parameter",
      space: "function",
      at,
    };
    parameters.push(variable);
    return variable;
  };
  for (const parameter of syntax.parameters) {
    const { name, attributes, at } = parameter;
    const type = resolveType(parameter.type, scope);
    const struct = structs(parameter.type.name);
    if (type.kind !== "struct" || !struct) {
      add(name, type, attributes, at);
      continue;
    }
    // A struct of what the invocation is told: its members become parameters.
    const args = struct.members.map((member, i) => {
      const told = type.members[i]!;
      const variable = add(
        `${name}.${member.name}`,
        told.type,
        member.attributes,
        member.at,
      );
      return { op: "variable", variable, type: told.type, at } as const;
    });
    const variable: Variable = {
      name,
      type,
      kind: "let",
      space: "function",
      at,
    };
    const value = { op: "construct", args, type, at } as const;
    first.push({ op: "declare", variable, value, at });
  }
  const named = parameters.filter(({ name }) => !name.includes("."));
  const body = checkBody(syntax, named, first, scope);
  const entry: FunctionNode = { ...body, parameters };
  return { entry, builtins, workgroupSize: workgroupSize(size, scope) };
}

function builtinOf(
  name: string,
  type: Type,
  attributes: readonly Attribute[],
  at: Position,
): InvocationBuiltin {
  checkAttributes(attributes, ["builtin"], `parameter ${name}`);
  const known = Object.keys(TYPES).join(", ");
  const [arg] = attributes.find(({ name }) => name === "builtin")?.args ?? [];
  if (!arg) {
    fail(`Parameter ${name} has no @builtin; write one of ${known}`, at);
  }
  const builtin = nameOf(arg) as InvocationBuiltin;
  const wanted = Object.hasOwn(TYPES, builtin) ? TYPES[builtin] : null;
  if (!wanted) {
    fail(`Unknown @builtin(${builtin}); write one of ${known}`, arg.at);
  }
  if (type !== wanted) {
    fail(`${name} is ${show(type)}; write ${show(wanted)}`, at);
  }
  return builtin;
}
