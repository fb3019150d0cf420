/**
 * The functions of the language: which there are, and which arguments they take. Those on memory
 * (atomics, barriers, `arrayLength`, `workgroupUniformLoad`) and `bitcast` are in
 * check_builtin.ts.
 *
 * @module
 */
import {
  type AnyScalar,
  commonScalar,
  converts,
  lanesType,
  type LooseType,
  registerType,
  scalarOf,
  widthOf,
} from "./types.ts";

/**
 * `arguments -> result; scalars`. T is a scalar or vector of such scalars, V a vector, C a vector
 * of three, S its component; B, I and U are bool, i32 and u32 of its width; b and u are a scalar
 * bool and u32, for all lanes.
 */
const SIGNATURES: Readonly<Record<string, readonly string[]>> = {
  abs: ["T -> T; number"],
  acos: ["T -> T; float"],
  all: ["B -> b"],
  any: ["B -> b"],
  asin: ["T -> T; float"],
  atan: ["T -> T; float"],
  atan2: ["T T -> T; float"],
  ceil: ["T -> T; float"],
  clamp: ["T T T -> T; number"],
  cos: ["T -> T; float"],
  cosh: ["T -> T; float"],
  countLeadingZeros: ["T -> T; int"],
  countOneBits: ["T -> T; int"],
  countTrailingZeros: ["T -> T; int"],
  cross: ["C C -> C; float"],
  degrees: ["T -> T; float"],
  distance: ["T T -> S; float"],
  dot: ["V V -> S; number"],
  dot4I8Packed: ["u32 u32 -> i32"],
  dot4U8Packed: ["u32 u32 -> u32"],
  exp: ["T -> T; float"],
  exp2: ["T -> T; float"],
  extractBits: ["T u u -> T; int"],
  firstLeadingBit: ["T -> T; int"],
  firstTrailingBit: ["T -> T; int"],
  floor: ["T -> T; float"],
  fma: ["T T T -> T; float"],
  fract: ["T -> T; float"],
  insertBits: ["T T u u -> T; int"],
  inverseSqrt: ["T -> T; float"],
  ldexp: ["T I -> T; float"],
  length: ["T -> S; float"],
  log: ["T -> T; float"],
  log2: ["T -> T; float"],
  max: ["T T -> T; number"],
  min: ["T T -> T; number"],
  mix: ["T T T -> T; float", "V V S -> V; float"],
  normalize: ["V -> V; float"],
  pack2x16float: ["vec2f -> u32"],
  pack2x16snorm: ["vec2f -> u32"],
  pack2x16unorm: ["vec2f -> u32"],
  pack4x8snorm: ["vec4f -> u32"],
  pack4x8unorm: ["vec4f -> u32"],
  pack4xI8: ["vec4i -> u32"],
  pack4xI8Clamp: ["vec4i -> u32"],
  pack4xU8: ["vec4u -> u32"],
  pack4xU8Clamp: ["vec4u -> u32"],
  pow: ["T T -> T; float"],
  radians: ["T -> T; float"],
  reverseBits: ["T -> T; int"],
  round: ["T -> T; float"],
  saturate: ["T -> T; float"],
  select: ["T T B -> T; any", "T T b -> T; any"],
  sign: ["T -> T; signed"],
  sin: ["T -> T; float"],
  sinh: ["T -> T; float"],
  smoothstep: ["T T T -> T; float"],
  sqrt: ["T -> T; float"],
  step: ["T T -> T; float"],
  tan: ["T -> T; float"],
  tanh: ["T -> T; float"],
  trunc: ["T -> T; float"],
  unpack2x16float: ["u32 -> vec2f"],
  unpack2x16snorm: ["u32 -> vec2f"],
  unpack2x16unorm: ["u32 -> vec2f"],
  unpack4x8snorm: ["u32 -> vec4f"],
  unpack4x8unorm: ["u32 -> vec4f"],
  unpack4xI8: ["u32 -> vec4i"],
  unpack4xU8: ["u32 -> vec4u"],
};

/** Functions that exist in WGSL but not here, and what to write. */
export const MISSING: Readonly<Record<string, string>> = {
  acosh: "write log(x + sqrt(x * x - 1.0))",
  asinh: "write sign(x) * log(abs(x) + sqrt(x * x + 1.0))",
  atanh: "write 0.5 * log((1.0 + x) / (1.0 - x))",
  frexp: "use exp2(floor(log2(x))) or bitcast<u32>(x)",
  modf: "write trunc(x) and x - trunc(x)",
  transpose: "write out the columns",
  determinant: "write out the products",
  reflect: "write v - 2.0 * dot(n, v) * n",
  refract: "write out the formula",
  faceForward: "write select(-n, n, dot(i, r) < 0.0)",
  quantizeToF16: "write unpack2x16float(pack2x16float(vec2(x, 0.0))).x",
  atomicCompareExchangeWeak: "use atomicMin, atomicMax or atomicExchange",
  ...Object.fromEntries(
    ["dpdx", "dpdy", "fwidth", "textureBarrier", "discard"].map((name) => [
      name,
      "it belongs to fragment shaders",
    ]),
  ),
};

const SCALARS: Readonly<Record<string, readonly AnyScalar[]>> = {
  float: ["f32", "abstract-float"],
  int: ["i32", "u32"],
  signed: ["f32", "i32", "abstract-float", "abstract-int"],
  number: ["f32", "i32", "u32", "abstract-float", "abstract-int"],
  any: ["f32", "i32", "u32", "bool", "abstract-float", "abstract-int"],
};

const OF: Readonly<Record<string, string>> = {
  float: " of f32",
  int: " of i32 or u32",
  signed: " of f32 or i32",
  number: " of one type of numbers",
  any: " of one type",
};

interface Signature {
  readonly parameters: readonly string[];
  readonly result: string;
  readonly scalars: readonly AnyScalar[];
}

const signatures = new Map(
  Object.entries(SIGNATURES).map(([name, texts]) => [
    name,
    texts.map((text): Signature => {
      const [types, scalars] = text.split("; ") as [string, string?];
      const [parameters, result] = types.split(" -> ") as [string, string];
      return {
        parameters: parameters.split(" "),
        result,
        scalars: scalars ? SCALARS[scalars]! : [],
      };
    }),
  ]),
);

/** Whether the language has a function of the name that takes and gives values only. */
export function isValueBuiltin(name: string): boolean {
  return Object.hasOwn(SIGNATURES, name);
}

/** What a function takes, for messages: `mix(T, T, T) of f32`. */
export function describeBuiltin(name: string): string {
  return SIGNATURES[name]!.map((text) => {
    const [types, scalars] = text.split("; ") as [string, string?];
    const [parameters] = types.split(" -> ") as [string];
    return `${name}(${parameters.replaceAll(" ", ", ")})${
      OF[scalars ?? ""] ?? ""
    }`;
  }).join(" or ");
}

/** The types that arguments and result have in a call, or null if the arguments do not fit. */
export function matchBuiltin(
  name: string,
  args: readonly LooseType[],
  isConstant: boolean,
): { parameters: LooseType[]; result: LooseType } | null {
  for (const signature of signatures.get(name)!) {
    const match = matchSignature(signature, args, isConstant);
    if (match) return match;
  }
  return null;
}

function matchSignature(
  { parameters, result, scalars }: Signature,
  args: readonly LooseType[],
  isConstant: boolean,
): { parameters: LooseType[]; result: LooseType } | null {
  if (args.length !== parameters.length) return null;
  const given = args.map(scalarOf);
  const shaped = args.filter((_, i) => /^[TVCBIU]$/.test(parameters[i]!));
  const width = widthOf(shaped[0] ?? args[0]!);
  if (width === 0 || shaped.some((type) => widthOf(type) !== width)) {
    return null;
  }
  const generic = given.filter((_, i) => /^[TVCS]$/.test(parameters[i]!));
  if (generic.includes(null)) return null;
  if (parameters[0] === "V" && width === 1) return null;
  if (parameters[0] === "C" && width !== 3) return null;
  let scalar: AnyScalar = "bool";
  if (generic.length > 0) {
    const common = commonScalar(generic as AnyScalar[]);
    if (!common) return null;
    scalar = common;
    if (!isConstant || !scalars.includes("abstract-float")) {
      if (scalar === "abstract-int") scalar = "i32";
      if (scalar === "abstract-float") scalar = "f32";
    }
    // Floats of integers: only literals become such.
    if (!scalars.includes(scalar) && common === "abstract-int") {
      scalar = isConstant ? "abstract-float" : "f32";
    }
    if (!scalars.includes(scalar)) return null;
  }
  const typeOf = (pattern: string): LooseType => {
    switch (pattern) {
      case "T":
      case "V":
      case "C":
        return lanesType(scalar, width);
      case "S":
        return lanesType(scalar, 1);
      case "B":
        return lanesType("bool", width);
      case "I":
        return lanesType("i32", width);
      case "U":
        return lanesType("u32", width);
      case "b":
        return lanesType("bool", 1);
      case "u":
      case "u32":
        return lanesType("u32", 1);
      case "i32":
        return lanesType("i32", 1);
    }
    const suffix = pattern.at(-1);
    return registerType(
      suffix === "f" ? "f32" : suffix === "i" ? "i32" : "u32",
      Number(pattern[3]),
    );
  };
  const types = parameters.map(typeOf);
  if (!types.every((type, i) => converts(args[i]!, type))) return null;
  return { parameters: types, result: typeOf(result) };
}
