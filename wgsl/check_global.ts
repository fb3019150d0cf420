/**
 * What stands outside of functions: structs, overrides, and variables in memory.
 *
 * @module
 */
import { checkValue } from "./check_expression.ts";
import { constantOf } from "./check_function.ts";
import { countOf, hasNoLength, nameOf, resolveType } from "./check_type.ts";
import { fail } from "./error.ts";
import {
  constant,
  leavesAs,
  mismatch,
  nodeAs,
  type Operand,
} from "./operand.ts";
import { constantScope, type Scope } from "./scope.ts";
import type {
  Attribute,
  DeclarationSyntax,
  FieldSyntax,
  StructSyntax,
} from "./syntax.ts";
import type { Position, StructType, Type, Variable } from "./tree.ts";
import {
  alignOf,
  concrete,
  converts,
  isConstructible,
  type Leaf,
  show,
  sizeOf,
  structType,
} from "./types.ts";

/** Throws unless all attributes are among the allowed. */
export function checkAttributes(
  attributes: readonly Attribute[],
  allowed: readonly string[],
  what: string,
): void {
  for (const { name, at } of attributes) {
    if (allowed.includes(name) || name === "diagnostic") continue;
    fail(
      `@${name} at ${what}; ${
        allowed.length ? `write @${allowed.join(" or @")}` : "remove it"
      }`,
      at,
    );
  }
}

/** The integer in `@name(…)`, or undefined. */
function attributeValue(
  attributes: readonly Attribute[],
  name: string,
  scope: Scope,
): number | undefined {
  const attribute = attributes.find((attribute) => attribute.name === name);
  if (!attribute) return undefined;
  const [arg] = attribute.args;
  if (!arg || attribute.args.length > 1) {
    fail(`@${name} takes one argument; write @${name}(1)`, attribute.at);
  }
  const { value, type, at } = checkValue(arg, constantScope(scope));
  const number = Number(value?.[0] ?? -1);
  if (!value || /float|f32/.test(show(type)) || number < 0) {
    fail(`@${name} needs a constant integer; write @${name}(1)`, at);
  }
  return number;
}

/** A struct, laid out. */
export function checkStruct(syntax: StructSyntax, scope: Scope): StructType {
  const { name, members, at } = syntax;
  if (members.length === 0) fail(`${name} has no members; add one`, at);
  const seen = new Set<string>();
  return structType(
    name,
    members.map((member, i) => {
      if (seen.has(member.name)) {
        fail(`A second member ${member.name}; rename one`, member.at);
      }
      seen.add(member.name);
      return checkMember(member, i === members.length - 1, scope);
    }),
  );
}

function checkMember(
  { name, type: syntax, attributes, at }: FieldSyntax,
  isLast: boolean,
  scope: Scope,
): { name: string; type: Type; size?: number; align?: number } {
  checkAttributes(attributes, ["size", "align", "builtin"], "a member");
  const type = resolveType(syntax, scope);
  if (type.kind === "pointer") {
    fail(`Member ${name} is a pointer; store an index instead`, at);
  }
  if (hasNoLength(type) && !isLast) {
    fail(`Member ${name} has no fixed size; make it the last`, at);
  }
  const size = attributeValue(attributes, "size", scope);
  if (size !== undefined && size < sizeOf(type)) {
    fail(`@size(${size}) of ${show(type)}; write at least ${sizeOf(type)}`, at);
  }
  const align = attributeValue(attributes, "align", scope);
  if (
    align !== undefined &&
    (!Number.isInteger(Math.log2(align)) || align < alignOf(type))
  ) {
    fail(
      `@align(${align}) of ${show(type)}; write a power of two from ${
        alignOf(type)
      }`,
      at,
    );
  }
  return { name, type, size, align };
}

/** The value of an override: the given one, else its own. */
export function overrideValue(
  syntax: DeclarationSyntax,
  scope: Scope,
  constants: Readonly<Record<string, number>>,
): Operand {
  const { name, attributes, at } = syntax;
  checkAttributes(attributes, ["id"], "an override");
  const id = attributeValue(attributes, "id", scope);
  const key = id === undefined ? name : String(id);
  const own = syntax.value && constantOf({ ...syntax, type: null }, scope);
  const type = syntax.type
    ? resolveType(syntax.type, scope)
    : own && concrete(own.type);
  if (!type) fail(`override ${name} has no type; write ${name}: u32`, at);
  if (type.kind !== "scalar") {
    fail(`An override of ${show(type)}; write a scalar type`, at);
  }
  if (Object.hasOwn(constants, key)) {
    return constant(type, [given(constants[key]!, type.scalar, key, at)], at);
  }
  if (!own) {
    fail(`override ${name} has no value; pass constants: { ${key}: … }`, at);
  }
  if (!converts(own.type, type)) mismatch(own, type, `The value of ${name}`);
  return constant(type, leavesAs(own, type), at);
}

/** A number from outside as the value of an override. */
function given(value: number, scalar: string, key: string, at: Position): Leaf {
  if (scalar === "bool") return Number(Boolean(value));
  if (scalar === "f32") {
    const rounded = Math.fround(value);
    if (Number.isFinite(rounded)) return rounded;
  } else if (scalar === "u32" ? value >>> 0 === value : (value | 0) === value) {
    return value + 0;
  }
  fail(
    `The constant ${key} is ${value}, which does not fit ${scalar}; pass another`,
    at,
  );
}

/** A variable outside of functions. */
export function checkVariable(
  syntax: DeclarationSyntax,
  scope: Scope,
): Variable {
  const { name, template, attributes, at } = syntax;
  if (!template) {
    if (syntax.type) resolveType(syntax.type, scope);
    fail(`var ${name} has no address space; write var<private>`, at);
  }
  const [space, access] = template.map(nameOf);
  const own = syntax.value && constantOf({ ...syntax, type: null }, scope);
  const type = syntax.type
    ? resolveType(syntax.type, scope)
    : own && concrete(own.type);
  if (!type) fail(`var ${name} has no type; write var<…> ${name}: f32`, at);
  if (space !== "storage" && access) {
    fail(`var<${space}, ${access}>; write var<${space}>`, at);
  }
  if (own && space !== "private") {
    fail(`A value of the ${space} variable ${name}; remove it`, at);
  }
  switch (space) {
    case "private":
    case "workgroup": {
      checkAttributes(attributes, [], `a ${space} variable`);
      if (hasNoLength(type) || space === "private" && !isConstructible(type)) {
        fail(`A ${space} variable of ${show(type)}; write a fixed size`, at);
      }
      const variable = { name, type, kind: "var", space, at } as const;
      if (!own) return variable;
      return {
        ...variable,
        initial: nodeAs(own, type, `The value of ${name}`),
      };
    }
    case "uniform":
    case "storage": {
      checkAttributes(attributes, ["group", "binding"], `a ${space} variable`);
      const group = attributeValue(attributes, "group", scope);
      const binding = attributeValue(attributes, "binding", scope);
      if (binding === undefined || group === undefined) {
        fail(`${name} has no place; write @group(0) @binding(0) before it`, at);
      }
      if (group !== 0) fail(`@group(${group}) at ${name}; write @group(0)`, at);
      checkShared(type, space, name, at);
      if (space === "uniform") {
        return { name, type, kind: "var", space, binding, access: "read", at };
      }
      if (access && access !== "read" && access !== "read_write") {
        fail(`Access ${access} of ${name}; write read or read_write`, at);
      }
      const writable = access === "read_write";
      return {
        name,
        type,
        kind: "var",
        space,
        binding,
        access: writable ? "read_write" : "read",
        at,
      };
    }
  }
  fail(
    `Address space ${space} of ${name}; write private, workgroup, uniform or storage`,
    at,
  );
}

/** Throws unless host and shader can both read a type, in the layout that the space asks for. */
function checkShared(
  type: Type,
  space: "uniform" | "storage",
  name: string,
  at: Position,
): void {
  switch (type.kind) {
    case "scalar":
    case "vector":
      if (type.scalar === "bool") {
        fail(`A bool in the ${space} variable ${name}; write u32`, at);
      }
      return;
    case "pointer":
      return fail(
        `A pointer in the ${space} variable ${name}; store an index`,
        at,
      );
    case "array":
      if (space === "uniform") {
        if (type.count === null) {
          fail(
            `${name} is uniform and has no fixed size; write var<storage>`,
            at,
          );
        }
        if (type.stride % 16 !== 0) {
          fail(
            `Elements of ${
              show(type)
            } are not 16 bytes apart, as uniform needs; write an array of vec4s`,
            at,
          );
        }
      }
      return checkShared(type.element, space, name, at);
    case "struct":
      for (const member of type.members) {
        const composite = member.type.kind === "struct" ||
          member.type.kind === "array";
        if (space === "uniform" && composite && member.offset % 16 !== 0) {
          fail(
            `Member ${member.name} of ${type.name} is not at a multiple of 16 bytes, as uniform needs; write @align(16)`,
            at,
          );
        }
        checkShared(member.type, space, name, at);
      }
  }
}

/** The most that devices offer. */
const MOST_INVOCATIONS = 1024;

/** Sizes of a workgroup: one to three positive constants. */
export function workgroupSize(
  attribute: Attribute,
  scope: Scope,
): [number, number, number] {
  const { args, at } = attribute;
  if (args.length < 1 || args.length > 3) {
    fail(`@workgroup_size of ${args.length} sizes; write one to three`, at);
  }
  const sizes = args.map((arg) => countOf(arg, scope));
  const count = sizes.reduce((product, size) => product * size);
  if (count > MOST_INVOCATIONS) {
    fail(
      `A workgroup of ${count} invocations; write at most ${MOST_INVOCATIONS}`,
      at,
    );
  }
  return [sizes[0]!, sizes[1] ?? 1, sizes[2] ?? 1];
}
