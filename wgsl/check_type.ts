/**
 * From the names of types to types.
 *
 * @module
 */
import { checkExpression } from "./check_expression.ts";
import { cast } from "./constants.ts";
import { fail } from "./error.ts";
import { type Scope, unknown } from "./scope.ts";
import type { ExpressionSyntax, NameSyntax } from "./syntax.ts";
import type { Position, ScalarName, Space, Type } from "./tree.ts";
import {
  arrayType,
  isConstructible,
  matrixType,
  registerType,
  scalarOf,
  show,
} from "./types.ts";

const LETTERS = { f: "f32", i: "i32", u: "u32" } as const;
const SCALARS = ["f32", "i32", "u32", "bool"];
const SPACES = ["function", "private", "workgroup", "uniform", "storage"];

/** Types of other languages and machines, and what to write. */
const FOREIGN: Readonly<Record<string, string>> = {
  float: "f32",
  double: "f32",
  half: "f32",
  int: "i32",
  uint: "u32",
  float2: "vec2f",
  float3: "vec3f",
  float4: "vec4f",
  mat2: "mat2x2f",
  mat3: "mat3x3f",
  mat4: "mat4x4f",
};

/** The type that a name stands for. */
export function resolveType(syntax: ExpressionSyntax, scope: Scope): Type {
  if (syntax.op !== "name") fail("This is not a type; write one", syntax.at);
  const { name, template, at } = syntax;
  const entity = scope.lookup(name, at);
  if (entity) {
    if (entity.kind !== "type") {
      fail(`${name} is a ${entity.kind}, not a type; write a type`, at);
    }
    if (template) fail(`${name} takes no template arguments; remove them`, at);
    return entity.type;
  }
  const type = predeclaredType(syntax, scope);
  if (type) return type;
  const generic = /^vec[234]$|^mat[234]x[234]$/.test(name);
  if (generic) {
    fail(`${name} needs the type of its elements; write ${name}f`, at);
  }
  if (name === "array" || name === "atomic" || name === "ptr") {
    const example = {
      array: "array<f32, 4>",
      atomic: "atomic<u32>",
      ptr: "ptr<function, f32>",
    };
    fail(`${name} needs template arguments; write ${example[name]}`, at);
  }
  const names = [...SCALARS, "vec2f", "vec3f", "vec4f", "array", "atomic"];
  unknown(name, "type", [...scope.names(), ...names], at);
}

/** A type of the language if the name, with its template arguments, is one. */
export function predeclaredType(syntax: NameSyntax, scope: Scope): Type | null {
  const { name, template, at } = syntax;
  rejectUnsupported(name, at);
  const arg = (i: number) => resolveType(template![i]!, scope);
  const counted = (least: number, most = least) => {
    if (template!.length < least || template!.length > most) {
      fail(
        `${name} takes ${
          least === most ? least : `${least} or ${most}`
        } template arguments, not ${template!.length}; correct them`,
        at,
      );
    }
  };
  if (SCALARS.includes(name)) {
    if (template) counted(0);
    return registerType(name as ScalarName, 1);
  }
  const vector = /^vec([234])([fiu])?$/.exec(name);
  if (vector) {
    const width = Number(vector[1]);
    if (vector[2]) {
      if (template) counted(0);
      return registerType(LETTERS[vector[2] as "f"], width);
    }
    if (!template) return null;
    counted(1);
    const element = arg(0);
    if (element.kind !== "scalar") {
      fail(`A vector of ${show(element)}; write f32, i32, u32 or bool`, at);
    }
    return registerType(element.scalar, width);
  }
  const matrix = /^mat([234])x([234])(f)?$/.exec(name);
  if (matrix) {
    if (!matrix[3]) {
      if (!template) return null;
      counted(1);
      if (scalarOf(arg(0)) !== "f32") {
        fail(`A matrix of ${show(arg(0))}; write f32`, at);
      }
    }
    return matrixType(Number(matrix[1]), Number(matrix[2]));
  }
  if (!template) return null;
  switch (name) {
    case "array": {
      counted(1, 2);
      const element = arg(0);
      if (element.kind === "pointer" || hasNoLength(element)) {
        fail(`An array of ${show(element)}; store values of known size`, at);
      }
      const count = template[1] ? countOf(template[1], scope) : null;
      return arrayType(element, count);
    }
    case "atomic": {
      counted(1);
      const scalar = scalarOf(arg(0));
      if (arg(0).kind !== "scalar" || scalar !== "u32" && scalar !== "i32") {
        fail(`An atomic ${show(arg(0))}; write atomic<u32> or atomic<i32>`, at);
      }
      return { kind: "atomic", scalar };
    }
    case "ptr":
      counted(2, 3);
      return pointerType(template, scope, at);
  }
  return null;
}

function pointerType(
  template: readonly ExpressionSyntax[],
  scope: Scope,
  at: Position,
): Type {
  const [spaceName, target, accessName] = template;
  const space = nameOf(spaceName!);
  if (!SPACES.includes(space)) {
    fail(
      `Unknown address space ${space}; write one of ${SPACES.join(", ")}`,
      at,
    );
  }
  const access = accessName
    ? nameOf(accessName)
    : space === "storage" || space === "uniform"
    ? "read"
    : "read_write";
  if (access !== "read" && access !== "read_write") {
    fail(`Unknown access ${access}; write read or read_write`, at);
  }
  return {
    kind: "pointer",
    space: space as Space,
    target: resolveType(target!, scope),
    access,
  };
}

/** The bare name that an expression is. */
export function nameOf(syntax: ExpressionSyntax): string {
  if (syntax.op !== "name") fail("Expected a name; write one", syntax.at);
  return syntax.name;
}

/** Whether a type has as many elements as there is memory. */
export function hasNoLength(type: Type): boolean {
  return type.kind === "array" && type.count === null ||
    type.kind === "struct" &&
      type.members.some((member) => hasNoLength(member.type));
}

/** A positive constant, as the length of an array. */
export function countOf(syntax: ExpressionSyntax, scope: Scope): number {
  const { value, type, at } = checkExpression(syntax, scope);
  const scalar = type.kind === "scalar" ? type.scalar : "bool";
  if (!value || scalar === "bool" || /float|f32/.test(scalar)) {
    fail("A size must be a constant integer; write a const or override", at);
  }
  const count = Number(cast(value[0]!, scalar, "i32", at));
  if (count < 1) fail(`A size of ${count}; write at least 1`, at);
  return count;
}

/** The type of a variable or value that is made as a whole. */
export function constructibleType(
  syntax: ExpressionSyntax,
  scope: Scope,
): Type {
  const type = resolveType(syntax, scope);
  if (!isConstructible(type)) {
    fail(
      `${show(type)} cannot be the type of a value; use it in memory`,
      syntax.at,
    );
  }
  return type;
}

function rejectUnsupported(name: string, at: Position): void {
  if (name === "f16" || /^(vec[234]|mat[234]x[234])h$/.test(name)) {
    fail(
      `${name} is not supported; write ${
        name.replace(/f16|h$/, (end) => end === "h" ? "f" : "f32")
      }, and pack2x16float to store halves`,
      at,
    );
  }
  if (/^texture_|^sampler/.test(name)) {
    fail(`${name} is not supported; pass the numbers in a storage buffer`, at);
  }
  if (Object.hasOwn(FOREIGN, name)) {
    fail(`Unknown type ${name}; write ${FOREIGN[name]}`, at);
  }
}
