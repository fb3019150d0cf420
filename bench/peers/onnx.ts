/**
 * Writes ONNX models: the few messages of onnx.proto3 that a graph of float tensors needs, in the
 * wire format of protocol buffers.
 *
 * @module
 */

/** An input, a constant, or what a node computes. */
export interface Value {
  readonly shape: readonly number[];
  /** Of a constant; int64 where numbers are shapes, axes or indices. */
  readonly data?: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
  /** What computes it. */
  readonly node?: Node;
}

/** An operator of one output. */
export interface Node {
  /** As in ONNX's list of operators. */
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly attributes?: Attributes;
}

/** Of an operator; a number is an integer unless it is said to be a float. */
export type Attributes = Record<
  string,
  number | { float: number } | string | readonly number[]
>;

/** Version of the set of operators, and of the file format that came with it. */
const OPSET = 21, IR_VERSION = 10;

const FLOAT = 1, INT64 = 7; // TensorProto.DataType
const A_FLOAT = 1, AN_INT = 2, A_STRING = 3, INTS = 7; // AttributeProto.AttributeType

type Bytes = Uint8Array<ArrayBuffer>;
/** A field's number; then an integer, a float, text, bytes, or the fields of a message in turn. */
type Field = [
  number: number,
  value: number | { float: number } | string | Bytes | Field[],
];

/**
 * A model without inputs: all that it reads are constants.
 *
 * @param outputs What it computes, by name.
 * @returns A file as `onnxruntime` loads it.
 */
export function onnxModel(outputs: Readonly<Record<string, Value>>): Bytes {
  const names = new Map(
    Object.entries(outputs).map(([name, value]) => [value, name]),
  );
  const nodes: Field[] = [], initializers: Field[] = [];
  const seen = new Set<Value>();
  const nameOf = (value: Value) => {
    const name = names.get(value) ?? `v${names.size}`;
    names.set(value, name);
    return name;
  };
  const visit = (value: Value) => {
    if (seen.has(value)) return;
    seen.add(value);
    value.node?.inputs.forEach(visit); // a node comes after those that it reads
    if (value.node) nodes.push([1, node(value.node, nameOf, nameOf(value))]);
    else initializers.push([5, tensor(value, nameOf(value))]);
  };
  Object.values(outputs).forEach(visit);
  return joined(encode([
    [1, IR_VERSION],
    [7, [
      ...nodes,
      [2, "graph"],
      ...initializers,
      ...Object.entries(outputs).map((
        [name, { shape }],
      ): Field => [12, output(name, shape)]),
    ]],
    [8, [[1, ""], [2, OPSET]]],
  ]));
}

function node(
  { op, inputs, attributes = {} }: Node,
  nameOf: (value: Value) => string,
  output: string,
): Field[] {
  return [
    ...inputs.map((input): Field => [1, nameOf(input)]),
    [2, output],
    [4, op],
    ...Object.entries(attributes).map((
      [name, value],
    ): Field => [5, [[1, name], ...attribute(value)]]),
  ];
}

function output(name: string, shape: readonly number[]): Field[] {
  const sizes = shape.map((size): Field => [1, [[1, size]]]);
  const type: Field[] = [[1, [[1, FLOAT], [2, sizes]]]];
  return [[1, name], [2, type]];
}

function attribute(value: Attributes[string]): Field[] {
  if (typeof value === "number") return [[3, value], [20, AN_INT]];
  if (typeof value === "string") return [[4, value], [20, A_STRING]];
  if ("float" in value) return [[2, value], [20, A_FLOAT]];
  return [...value.map((i): Field => [8, i]), [20, INTS]];
}

function tensor({ shape, data }: Value, name: string): Field[] {
  const { buffer, byteOffset, byteLength } = data!;
  return [
    ...shape.map((size): Field => [1, size]),
    [2, data instanceof Float32Array ? FLOAT : INT64],
    [8, name],
    [9, new Uint8Array(buffer, byteOffset, byteLength)],
  ];
}

const VARINT = 0, LENGTH_DELIMITED = 2, FIXED32 = 5; // wire types

function encode(fields: readonly Field[]): Bytes[] {
  return fields.flatMap(([number, value]) => {
    const tag = (wireType: number) => varint(number << 3 | wireType);
    if (typeof value === "number") return [tag(VARINT), varint(value)];
    if (typeof value === "object" && "float" in value) {
      const bits = new Uint8Array(Float32Array.of(value.float).buffer);
      return [tag(FIXED32), bits];
    }
    const content = typeof value === "string"
      ? [new TextEncoder().encode(value)]
      : Array.isArray(value)
      ? encode(value)
      : [value];
    return [tag(LENGTH_DELIMITED), varint(lengthOf(content)), ...content];
  });
}

/** Seven bits to a byte, the lowest first; a negative number is taken as one of 64 bits. */
function varint(value: number): Bytes {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Uint8Array.of(...bytes, Number(rest));
}

function lengthOf(chunks: readonly Bytes[]): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

function joined(chunks: readonly Bytes[]): Bytes {
  const bytes = new Uint8Array(lengthOf(chunks));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
