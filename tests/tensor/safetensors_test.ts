import { deepStrictEqual, rejects, throws } from "node:assert/strict";
import {
  type HostTensor,
  loadSafetensors,
  parseSafetensors,
  Rng,
  saveSafetensors,
  tensor,
} from "../../mod.ts";
import { philoxWords } from "../../tensor/philox.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A file of this header text and data; `claimed` overrides the length field. */
function file(
  header: string | Bytes,
  data: Bytes = new Uint8Array(),
  claimed?: bigint,
): Bytes {
  const text = typeof header === "string"
    ? new TextEncoder().encode(header)
    : header;
  const bytes = new Uint8Array(8 + text.length + data.length);
  const length = claimed ?? BigInt(text.length);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

/** A file with one tensor `x` of this type, a vector. */
function single(dtype: string, data: ArrayBuffer, count: number): Bytes {
  const entry = { dtype, shape: [count], data_offsets: [0, data.byteLength] };
  return file(JSON.stringify({ x: entry }), new Uint8Array(data));
}

function refuses(bytes: Bytes, message: RegExp): void {
  throws(() => parseSafetensors(bytes), { name: "SyntaxError", message });
}

Deno.test("saveSafetensors() writes the documented bytes", async () => {
  const bytes = await saveSafetensors({
    b: tensor([1.5, -2]),
    a: tensor(Int32Array.of(7), []),
  }, { step: "3" });
  const text = '{"__metadata__":{"step":"3"},' +
    '"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]},' +
    '"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}';
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const data = new Uint8Array(12);
  const view = new DataView(data.buffer);
  view.setInt32(0, 7, true);
  view.setFloat32(4, 1.5, true);
  view.setFloat32(8, -2, true);
  deepStrictEqual(bytes, file(padded, data));
});

Deno.test("saveSafetensors() and parseSafetensors() keep every bit, shape and name", async () => {
  const x = new Rng(1).normal([3, 1, 5]);
  const odd = new Float32Array([NaN, -0, Infinity, -Infinity, 1e-45]);
  const scalar: HostTensor = {
    dtype: "i32",
    shape: [],
    data: Int32Array.of(-1),
  };
  const entries: Record<string, HostTensor> = {
    "down.0.weight": { dtype: "f32", shape: [5], data: odd },
    "0": { dtype: "u32", shape: [1], data: Uint32Array.of(0xffffffff) },
    'quote " é \\ {}': { dtype: "i32", shape: [0, 3], data: new Int32Array() },
    constructor: scalar,
  };
  const metadata = { format: "pt", "a:{": '"}' };
  const bytes = await saveSafetensors({ ...entries, x }, metadata);
  const { x: read, ...others } = parseSafetensors(bytes).tensors;
  deepStrictEqual(others, entries);
  deepStrictEqual(read, {
    dtype: "f32",
    shape: [3, 1, 5],
    data: await x.data(),
  });
  deepStrictEqual(parseSafetensors(bytes).metadata, metadata);
});

Deno.test("saveSafetensors() does not depend on the order of entries", async () => {
  const a = tensor([1]), b = tensor([2]);
  const options = [{ y: "1", x: "2" }, { x: "2", y: "1" }];
  deepStrictEqual(
    await saveSafetensors({ a, b }, options[0]),
    await saveSafetensors({ b, a }, options[1]),
  );
  deepStrictEqual(parseSafetensors(await saveSafetensors({})).tensors, {});
});

Deno.test("saveSafetensors() refuses data that do not fit, and reserved names", async () => {
  const short: HostTensor = {
    dtype: "f32",
    shape: [3],
    data: new Float32Array(2),
  };
  await rejects(saveSafetensors({ w: short }), {
    name: "TypeError",
    message: /w is f32\[3\], its data a Float32Array of 2/,
  });
  const wrong: HostTensor = {
    dtype: "i32",
    shape: [2],
    data: new Float32Array(2),
  };
  await rejects(saveSafetensors({ w: wrong }), TypeError);
  await rejects(saveSafetensors({ __metadata__: tensor([1]) }), TypeError);
});

Deno.test("parseSafetensors() reads where data is not aligned", async () => {
  const bytes = await saveSafetensors({ x: tensor([1, 2, 3]) });
  const moved = new Uint8Array(bytes.length + 1);
  moved.set(bytes, 1);
  const { x } = parseSafetensors(moved.subarray(1)).tensors;
  deepStrictEqual(x!.data, Float32Array.of(1, 2, 3));
  const two = file(
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}} ',
    Uint8Array.of(9, 0, 0, 128, 63),
  );
  deepStrictEqual(parseSafetensors(two).tensors.b!.data, Float32Array.of(1));
});

Deno.test("parseSafetensors() converts other types without loss, or says why not", () => {
  const x = (bytes: Bytes) => parseSafetensors(bytes).tensors.x!;
  const f16 = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7c00);
  deepStrictEqual(
    x(single("F16", f16.buffer, 4)).data,
    Float32Array.of(1, -2, 2 ** -24, Infinity),
  );
  const bf16 = Uint16Array.of(0x3f80, 0xc049);
  deepStrictEqual(
    x(single("BF16", bf16.buffer, 2)).data,
    Float32Array.of(1, -3.140625),
  );
  const f64 = Float64Array.of(0.1, -Infinity);
  deepStrictEqual(
    x(single("F64", f64.buffer, 2)).data,
    Float32Array.of(0.1, -Infinity),
  );
  deepStrictEqual(x(single("I64", BigInt64Array.of(-5n, 2n).buffer, 2)), {
    dtype: "i32",
    shape: [2],
    data: Int32Array.of(-5, 2),
  });
  deepStrictEqual(
    x(single("U64", BigUint64Array.of(4294967295n).buffer, 1)).data,
    Uint32Array.of(4294967295),
  );
  for (
    const [dtype, array] of [
      ["BOOL", Uint8Array.of(0, 1)],
      ["U8", Uint8Array.of(0, 255)],
      ["I8", Int8Array.of(-128, 127)],
      ["I16", Int16Array.of(-32768, 5)],
      ["U16", Uint16Array.of(65535, 5)],
    ] as const
  ) {
    deepStrictEqual(
      x(single(dtype, array.buffer, 2)).data,
      Int32Array.from(array),
    );
  }
  refuses(
    single("I64", BigInt64Array.of(1n, 1n << 40n).buffer, 2),
    /element 1 of x must fit i32: it is 1099511627776 \(I64\)/,
  );
  refuses(single("U64", BigUint64Array.of(1n << 32n).buffer, 1), /fit u32/);
  refuses(single("F64", Float64Array.of(1e300).buffer, 1), /fit f32/);
  refuses(single("BOOL", Uint8Array.of(2).buffer, 1), /fit i32/);
  refuses(single("F8_E4M3", new ArrayBuffer(1), 1), /dtype of x must be one/);
});

Deno.test("parseSafetensors() refuses hostile headers, saying what and where", () => {
  const data = new Uint8Array(8);
  const entry = (fields: string) => file(`{"w":{${fields}}}`, data);
  const ok = '"dtype":"F32","shape":[2],"data_offsets":[0,8]';
  parseSafetensors(entry(ok));
  refuses(new Uint8Array(7), /8 bytes of length: it has 7/);
  refuses(file("{}", data, 1n << 63n), /claims 9223372036854775808 bytes, 10/);
  refuses(file("{}", data, 11n), /claims 11 bytes, 10 follow/);
  refuses(file("{oops", data), /header must be JSON/);
  refuses(file(""), /header must be JSON/);
  refuses(file("[]"), /JSON object from its first byte/);
  refuses(file(" {}"), /JSON object from its first byte/);
  refuses(file("null"), /JSON object/);
  refuses(file(Uint8Array.of(0x7b, 0xff, 0x7d)), /header must be JSON/);
  refuses(file("\uFEFF{}"), /header must be JSON/);
  refuses(file(`{"w":{${ok}},"w":{${ok}}}`, data), /name w appears twice/);
  refuses(file(`{"w":{${ok}},"\\u0077":{${ok}}}`, data), /w appears twice/);
  refuses(entry(`${ok},"shape":[2]`), /name shape appears twice/);
  refuses(file(`{"__proto__":{${ok}}}`, data), /__proto__ is not allowed/);
  refuses(entry(`${ok},"__proto__":1`), /__proto__ is not allowed/);
  refuses(file('{"__metadata__":{"a":1}}'), /__metadata__ must be an object/);
  refuses(file('{"__metadata__":[]}'), /__metadata__ must be an object/);
  refuses(file('{"w":3}', data), /w must be an object/);
  refuses(entry('"shape":[2],"data_offsets":[0,8]'), /dtype of w .* undefined/);
  refuses(
    entry('"dtype":"toString","shape":[2],"data_offsets":[0,8]'),
    /dtype of w/,
  );
  for (const shape of ["[-2]", "[2.5]", '["2"]', "2", "[1e300]", "null"]) {
    refuses(
      entry(`"dtype":"F32","shape":${shape},"data_offsets":[0,8]`),
      /shape of w/,
    );
  }
  const huge = "[9007199254740991,9007199254740991]";
  refuses(
    entry(`"dtype":"F32","shape":${huge},"data_offsets":[0,8]`),
    /w must take/,
  );
  for (const offsets of ["[0]", "[0,8,9]", "[-8,0]", "[0,8.5]", "{}"]) {
    refuses(
      entry(`"dtype":"F32","shape":[2],"data_offsets":${offsets}`),
      /data_offsets of w/,
    );
  }
  for (const offsets of ["[8,0]", "[0,12]", "[0,1e15]"]) {
    refuses(
      entry(`"dtype":"F32","shape":[2],"data_offsets":${offsets}`),
      /must lie in the data of 8 bytes/,
    );
  }
  refuses(
    entry('"dtype":"F32","shape":[3],"data_offsets":[0,8]'),
    /w must take 12 bytes, being F32 \[3\]: its data_offsets are \[0, 8\]/,
  );
  const pair = (a: string, b: string) =>
    file(
      `{"a":{"dtype":"F32","shape":[1],"data_offsets":${a}},"b":{"dtype":"F32","shape":[1],"data_offsets":${b}}}`,
      data,
    );
  parseSafetensors(pair("[4,8]", "[0,4]"));
  refuses(pair("[0,4]", "[0,4]"), /b must begin where the one before ends/);
  refuses(pair("[0,4]", "[2,6]"), /b must begin where .*, at 4: .* \[2, 6\]/);
  refuses(
    file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', data),
    /w must begin where the one before ends, at 0/,
  );
  refuses(
    file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', data),
    /entries must cover all data: they end at 4 of 8/,
  );
});

Deno.test("parseSafetensors() survives long strings and deep nesting in the header", () => {
  const text = "\\n".repeat(1e6);
  parseSafetensors(file(`{"__metadata__":{"text":"${text}"}}`));
  refuses(file('{"a":'.repeat(1e5) + "1" + "}".repeat(1e5)), /dtype of a/);
  refuses(file("[".repeat(1e6)), /header must be JSON/);
});

Deno.test("parseSafetensors() meets any mutation with a SyntaxError or a sound result", async () => {
  const good = await saveSafetensors({
    "a.weight": tensor([[1, 2], [3, 4]]),
    "b.bias": tensor(Int32Array.of(1, 2, 3)),
    empty: tensor(new Float32Array(), [0, 2]),
  }, { note: "x" });
  const words = philoxWords(4 * 3000, [42, 0]);
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const [kind, where, what, more] = words.subarray(4 * round) as unknown as [
      number,
      number,
      number,
      number,
    ];
    const at = where % good.length;
    let bytes = good.slice();
    if (kind % 4 === 0) bytes[at] = what % 256;
    else if (kind % 4 === 1) bytes = bytes.slice(0, at);
    else if (kind % 4 === 2) bytes[at]! ^= 1 << (what % 8);
    else { // a piece is written over another place
      const from = more % good.length;
      bytes.set(
        good.subarray(from, from + what % 16).slice(0, good.length - at),
        at,
      );
    }
    try {
      const { tensors } = parseSafetensors(bytes);
      for (const { shape, data } of Object.values(tensors)) {
        const size = shape.reduce((a, b) => a * b, 1);
        if (data.length !== size) throw new Error(`${shape} of ${data.length}`);
      }
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      refused++;
    }
  }
  if (refused < 1000) throw new Error(`Only ${refused} mutations were refused`);
});

Deno.test("loadSafetensors() reads paths and URLs, and names the file in errors", async () => {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    const bytes = await saveSafetensors({ x: tensor([1, 2]) });
    await Deno.writeFile(path, bytes);
    const want = parseSafetensors(bytes);
    deepStrictEqual(await loadSafetensors(path), want);
    deepStrictEqual(await loadSafetensors(new URL(`file://${path}`)), want);
    deepStrictEqual(await loadSafetensors(bytes), want);
    await Deno.writeFile(path, bytes.subarray(0, 40));
    await rejects(loadSafetensors(path), (error: Error) => {
      return error instanceof SyntaxError && error.message.startsWith(path);
    });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("saveSafetensors() writes f16 as F16, which reads back as f32", async () => {
  const x = tensor(Float16Array.of(1, -0.5, 65504), [3]);
  const { tensors } = parseSafetensors(
    await saveSafetensors({ x, y: tensor([3]) }),
  );
  deepStrictEqual(tensors.x, {
    dtype: "f32",
    shape: [3],
    data: Float32Array.of(1, -0.5, 65504),
  });
  deepStrictEqual(tensors.y!.data, Float32Array.of(3));
});
