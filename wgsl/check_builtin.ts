/**
 * Calls of what the language brings: functions of values by their signatures (builtins.ts), and
 * those on memory.
 *
 * @module
 */
import {
  describeBuiltin,
  isValueBuiltin,
  matchBuiltin,
  MISSING,
} from "./builtins.ts";
import type { CallResult } from "./check_call.ts";
import { resolveType } from "./check_type.ts";
import { bitcast } from "./constants.ts";
import { fail } from "./error.ts";
import { foldBuiltin } from "./fold.ts";
import {
  constant,
  leavesAs,
  nodeAs,
  type Operand,
  runtime,
  spread,
} from "./operand.ts";
import type { Scope } from "./scope.ts";
import type { NameSyntax } from "./syntax.ts";
import type { Expression, PointerType, Position, Type } from "./tree.ts";
import {
  concrete,
  isConstructible,
  type LooseType,
  registerType,
  scalarOf,
  show,
  U32,
  widthOf,
} from "./types.ts";

const ATOMIC = /^atomic(Load|Store|Add|Sub|Max|Min|And|Or|Xor|Exchange)$/;
const BARRIERS = ["workgroupBarrier", "storageBarrier"];
const OTHERS = [...BARRIERS, "arrayLength", "workgroupUniformLoad", "bitcast"];

/** Whether the language has a function of the name, here or elsewhere. */
export function isBuiltin(name: string): boolean {
  return isValueBuiltin(name) || OTHERS.includes(name) || ATOMIC.test(name) ||
    Object.hasOwn(MISSING, name) || /^(texture|subgroup|quad)[A-Z]/.test(name);
}

/** A call of such a function. */
export function checkBuiltin(
  callee: NameSyntax,
  args: readonly Operand[],
  scope: Scope,
  at: Position,
): CallResult {
  const { name, template } = callee;
  if (name === "bitcast") {
    const [type] = template ?? [];
    if (!type) fail("bitcast needs a type; write bitcast<u32>(…)", at);
    counted(name, args, ["value"], at);
    const operand = checkBitcast(args[0]!, resolveType(type, scope), at);
    return { operand, gives: "value" };
  }
  if (template) fail(`${name} takes no template arguments; remove them`, at);
  if (isValueBuiltin(name)) {
    return { operand: valueBuiltin(name, args, at), gives: "value" };
  }
  if (ATOMIC.test(name)) return atomic(name, args, at);
  switch (name) {
    case "workgroupBarrier":
    case "storageBarrier":
      counted(name, args, [], at);
      return { operand: call(name, [], U32, at), gives: "nothing" };
    case "arrayLength": {
      counted(name, args, ["&array"], at);
      const { target } = pointer(name, args[0]!);
      if (target.kind !== "array" || target.count !== null) {
        fail(`arrayLength() of ${show(target)}; its length is constant`, at);
      }
      const operand = call(name, [args[0]!.node!], U32, at);
      return { operand, gives: "value" };
    }
    case "workgroupUniformLoad": {
      counted(name, args, ["&variable"], at);
      const { target, space } = pointer(name, args[0]!);
      if (space !== "workgroup") {
        fail(`${name}() from ${space}; read the variable directly`, at);
      }
      const type: Type = target.kind === "atomic"
        ? registerType(target.scalar, 1)
        : target;
      if (!isConstructible(type)) fail(`${name}() of ${show(type)}`, at);
      const operand = call(name, [args[0]!.node!], type, at);
      return { operand, gives: "value" };
    }
  }
  const instead = MISSING[name] ??
    (name.startsWith("texture")
      ? "read a storage buffer"
      : "use workgroup memory and workgroupBarrier()");
  fail(`${name}() is not supported; ${instead}`, at);
}

function call(
  name: string,
  args: readonly Expression[],
  type: Type,
  at: Position,
): Operand {
  return runtime({ op: "builtin", name, args, type, at });
}

function counted(
  name: string,
  args: readonly Operand[],
  wanted: readonly string[],
  at: Position,
): void {
  if (args.length === wanted.length) return;
  fail(
    `${name}() has ${args.length} arguments; write ${name}(${
      wanted.join(", ")
    })`,
    at,
  );
}

function valueBuiltin(
  name: string,
  args: readonly Operand[],
  at: Position,
): Operand {
  const isConstant = args.every((arg) => arg.value);
  const types = args.map((arg) => arg.type);
  const match = args.length > 0 ? matchBuiltin(name, types, isConstant) : null;
  if (!match) {
    fail(
      `No ${name}(${types.map(show).join(", ")}); it is ${
        describeBuiltin(name)
      }`,
      at,
    );
  }
  const { parameters, result } = match;
  if (isConstant) {
    const lanes = args.map((arg, i) => leavesAs(arg, parameters[i]!));
    const folded = foldBuiltin(name, scalarOf(parameters[0]!)!, lanes, at);
    if (folded) return constant(result, folded, at);
  }
  const width = Math.max(...parameters.map(widthOf));
  // Where T is a vector, scalars (of mix, select, extractBits) serve all lanes.
  const nodes = args.map((arg, i) =>
    widened(arg, parameters[i]!, width, `Argument ${i + 1} of ${name}()`)
  );
  return call(name, nodes, concrete(result), at);
}

function widened(
  arg: Operand,
  type: LooseType,
  width: number,
  what: string,
): Expression {
  const scalar = scalarOf(concrete(type)) as "f32";
  const node = nodeAs(arg, concrete(type), what);
  if (widthOf(type) === width) return node;
  const wide = registerType(scalar, width);
  const operand = arg.value
    ? constant(type, leavesAs(arg, type), arg.at)
    : runtime(node);
  return nodeAs(spread(operand, width), wide, what);
}

function checkBitcast(operand: Operand, type: Type, at: Position): Operand {
  const to = scalarOf(type), given = scalarOf(operand.type);
  const width = widthOf(type);
  if (
    !to || !given || to === "bool" || given === "bool" ||
    width !== widthOf(operand.type)
  ) {
    fail(
      `No bitcast from ${show(operand.type)} to ${show(type)}; ` +
        "both must be 32-bit numbers and equally wide",
      at,
    );
  }
  // An abstract integer keeps its value where it fits the type.
  const from = given === "abstract-int" && to === "u32"
    ? U32
    : concrete(operand.type);
  const source = registerType(scalarOf(from) as "f32", width);
  if (operand.value) {
    const lanes = leavesAs(operand, source).map((lane) =>
      bitcast(Number(lane), source.scalar, to, at)
    );
    return constant(type, lanes, at);
  }
  if (to === given) return operand;
  return runtime({ op: "bitcast", operand: operand.node!, type, at });
}

function pointer(name: string, { type, at }: Operand): PointerType {
  if (type.kind !== "pointer") {
    fail(`${name}() of ${show(type)}; pass an address: &…`, at);
  }
  return type;
}

function atomic(
  name: string,
  args: readonly Operand[],
  at: Position,
): CallResult {
  const isLoad = name === "atomicLoad";
  counted(name, args, isLoad ? ["&place"] : ["&place", "value"], at);
  const { target, access } = pointer(name, args[0]!);
  if (target.kind !== "atomic") {
    fail(`${name}() of ${show(target)}; declare it as atomic<u32>`, at);
  }
  if (access === "read") {
    fail(`${name}() in read-only memory; declare it read_write`, at);
  }
  const type = registerType(target.scalar, 1);
  const value = isLoad
    ? []
    : [nodeAs(args[1]!, type, `The value of ${name}()`)];
  return {
    operand: call(name, [args[0]!.node!, ...value], type, at),
    gives: isLoad ? "value" : name === "atomicStore" ? "nothing" : "effect",
  };
}
