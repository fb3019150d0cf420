import assert from "node:assert/strict";
import { onnxModel, type Value } from "../../../bench/peers/onnx.ts";

/** The fields of a message by number; what has a length stays bytes, and a float is its bits. */
function fields(bytes: Uint8Array): Record<number, (bigint | Uint8Array)[]> {
  const found: Record<number, (bigint | Uint8Array)[]> = {};
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    let value: bigint | Uint8Array;
    if ((tag & 7) === 0) value = varint();
    else {
      const length = (tag & 7) === 5 ? 4 : Number(varint());
      assert.ok((tag & 7) === 5 || (tag & 7) === 2);
      assert.ok(at + length <= bytes.length);
      value = bytes.subarray(at, at += length);
    }
    (found[tag >> 3] ??= []).push(value);
  }
  return found;
}

const messages = (list: (bigint | Uint8Array)[] = []) =>
  list.map((bytes) => fields(bytes as Uint8Array));
const texts = (list: (bigint | Uint8Array)[] = []) =>
  list.map((bytes) => new TextDecoder().decode(bytes as Uint8Array));
const floats = (
  bytes: bigint | Uint8Array,
) => [...new Float32Array((bytes as Uint8Array).slice().buffer)];

/** Version, operator set and graph of a model. */
function parsed(bytes: Uint8Array) {
  const model = fields(bytes);
  const [graph] = messages(model[7]);
  return { model, graph: graph! };
}

Deno.test("onnxModel() writes the bytes that the wire format asks for", () => {
  const x = { shape: [1], data: Float32Array.of(1) };
  const y = { shape: [1], node: { op: "Neg", inputs: [x] } };
  const text = (s: string) => [...new TextEncoder().encode(s)];
  const node = [0x0a, 2, ...text("v1"), 0x12, 1, ...text("y"), 0x22, 3];
  node.push(...text("Neg"));
  const initializer = [0x08, 1, 0x10, 1, 0x42, 2, ...text("v1"), 0x4a, 4];
  initializer.push(0, 0, 0x80, 0x3f);
  const shape = [0x0a, 2, 0x08, 1], tensor = [0x08, 1, 0x12, 4, ...shape];
  const type = [0x0a, tensor.length, ...tensor];
  const output = [0x0a, 1, ...text("y"), 0x12, type.length, ...type];
  const graph = [
    ...[0x0a, node.length, ...node],
    ...[0x12, 5, ...text("graph")],
    ...[0x2a, initializer.length, ...initializer],
    ...[0x62, output.length, ...output],
  ];
  assert.deepEqual([...onnxModel({ y })], [
    ...[0x08, 10, 0x3a, graph.length, ...graph],
    ...[0x42, 4, 0x0a, 0, 0x10, 21],
  ]);
});

Deno.test("onnxModel() writes every value once, and a node after what it reads", () => {
  const x: Value = { shape: [2, 3], data: new Float32Array(6).fill(0.5) };
  const square: Value = { shape: [2, 3], node: { op: "Mul", inputs: [x, x] } };
  const all: Value = {
    shape: [2, 3],
    node: { op: "Add", inputs: [square, x] },
  };
  const sum: Value = { shape: [], node: { op: "ReduceSum", inputs: [all] } };
  const { graph } = parsed(onnxModel({ sum, all }));
  const nodes = messages(graph[1]);
  assert.deepEqual(nodes.flatMap((node) => texts(node[4])), [
    "Mul",
    "Add",
    "ReduceSum",
  ]);
  const known = new Set(messages(graph[5]).flatMap((x) => texts(x[8])));
  assert.equal(known.size, 1);
  for (const node of nodes) {
    assert.ok(texts(node[1]).every((input) => known.has(input)));
    for (const output of texts(node[2])) {
      assert.ok(!known.has(output));
      known.add(output);
    }
  }
  const outputs = messages(graph[12]);
  assert.deepEqual(outputs.flatMap((output) => texts(output[1])), [
    "sum",
    "all",
  ]);
  const ranks = outputs.map((output) => {
    const [type] = messages(output[2]), [tensor] = messages(type![1]);
    assert.deepEqual(tensor![1], [1n]); // float
    return messages(messages(tensor![2])[0]![1]).map((axis) => axis[1]);
  });
  assert.deepEqual(ranks, [[], [[2n], [3n]]]);
});

Deno.test("onnxModel() writes constants as they are, views of longer ones too", () => {
  const long = Float32Array.of(0, 1, 2, 3, 4);
  const x: Value = { shape: [3], data: long.subarray(1, 4) };
  const axes: Value = { shape: [2], data: BigInt64Array.of(-1n, 300n) };
  const y: Value = { shape: [3], node: { op: "Any", inputs: [x, axes] } };
  const [a, b] = messages(parsed(onnxModel({ y })).graph[5]);
  assert.deepEqual([a![1], a![2]], [[3n], [1n]]);
  assert.deepEqual(floats(a![9]![0]!), [1, 2, 3]);
  assert.deepEqual([b![1], b![2]], [[2n], [7n]]); // int64
  const raw = (b![9]![0] as Uint8Array).slice().buffer;
  assert.deepEqual([...new BigInt64Array(raw)], [-1n, 300n]);
});

Deno.test("onnxModel() tells the kinds of attributes apart", () => {
  const x: Value = { shape: [1], data: Float32Array.of(1) };
  const attributes = {
    axis: -1,
    epsilon: { float: 0.25 },
    mode: "floor",
    pads: [0, 200],
  };
  const y: Value = { shape: [1], node: { op: "Any", inputs: [x], attributes } };
  const [node] = messages(parsed(onnxModel({ y })).graph[1]);
  const [axis, epsilon, mode, pads] = messages(node![5]);
  assert.deepEqual([axis![1], epsilon![1], mode![1], pads![1]].flatMap(texts), [
    "axis",
    "epsilon",
    "mode",
    "pads",
  ]);
  assert.deepEqual([axis![20], axis![3]], [[2n], [-1n]]);
  assert.deepEqual(epsilon![20], [1n]);
  assert.deepEqual(floats(epsilon![2]![0]!), [0.25]);
  assert.deepEqual([mode![20], texts(mode![4])], [[3n], ["floor"]]);
  assert.deepEqual([pads![20], pads![8]], [[7n], [0n, 200n]]);
});
