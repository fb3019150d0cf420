import { deepStrictEqual, ok, throws } from "node:assert/strict";
import { zipSync } from "npm:fflate@0.8.3";
import { loadTorchFile, parseTorchFile } from "../../mod.ts";
import { philoxWords } from "../../tensor/philox.ts";
import { PickleTuple, readPickle } from "../../tensor/pickle.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const ascii = (text: string) => new TextEncoder().encode(text);

function join(...parts: (string | number | ArrayLike<number>)[]): Bytes {
  return Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "number"
        ? [part]
        : Array.from(typeof part === "string" ? ascii(part) : part)
    ),
  );
}

function u32(value: number): Bytes {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

// A pickle's instructions, as `torch.save` writes them with protocol 2.
const wrap = (body: Bytes) => join([0x80, 2], body, ".");
const int = (value: number) => join("J", u32(value));
const str = (text: string) => join("X", u32(ascii(text).length), text);
const tuple = (...items: Bytes[]) => join("(", ...items, "t");
const list = (...items: Bytes[]) => join("](", ...items, "e");
const global = (module: string, name: string) => join(`c${module}\n${name}\n`);
const call = (callee: Bytes, ...args: Bytes[]) =>
  join(callee, tuple(...args), "R");
const dict = (entries: Record<string, Bytes>) =>
  join("}(", ...Object.entries(entries).flatMap(([k, v]) => [str(k), v]), "u");
const orderedDict = (entries: Record<string, Bytes>) =>
  join(call(global("collections", "OrderedDict")), dict(entries).slice(1));
const NONE = join("N"), FALSE = join(0x89);

interface Saved {
  type: string;
  key: string;
  count: number;
}
const storage = ({ type, key, count }: Saved, ...more: Bytes[]) =>
  join(
    tuple(
      str("storage"),
      global("torch", `${type}Storage`),
      str(key),
      str("cpu"),
      int(count),
      ...more,
    ),
    "Q",
  );
const tensor = (
  from: Bytes,
  offset: number,
  shape: number[],
  strides: number[],
) =>
  call(
    global("torch._utils", "_rebuild_tensor_v2"),
    from,
    int(offset),
    tuple(...shape.map(int)),
    tuple(...strides.map(int)),
    FALSE,
    call(global("collections", "OrderedDict")),
  );

type Storages = Record<string, ArrayBufferView<ArrayBuffer>>;
const raw = (view: ArrayBufferView<ArrayBuffer>) =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function zipFile(root: Bytes, storages: Storages = {}): Bytes {
  const files: Record<string, Bytes> = {
    "archive/data.pkl": wrap(root),
    "archive/byteorder": ascii("little"),
    "archive/version": ascii("3\n"),
  };
  for (const [key, view] of Object.entries(storages)) {
    files[`archive/data/${key}`] = raw(view);
  }
  return zipSync(files, { level: 0 }) as Bytes;
}

const MAGIC = join(
  0x8a,
  10,
  [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19],
);
function legacyFile(
  root: Bytes,
  storages: Storages = {},
  littleEndian = true,
): Bytes {
  const system = join(
    "}(",
    str("protocol_version"),
    join("M", [0xe9, 3]),
    str("little_endian"),
    littleEndian ? 0x88 : 0x89,
    "u",
  );
  return join(
    wrap(MAGIC),
    wrap(join("M", [0xe9, 3])),
    wrap(system),
    wrap(root),
    wrap(list(...Object.keys(storages).map(str))),
    ...Object.values(storages).flatMap((view) => [
      u32((view as Float32Array).length),
      u32(0),
      raw(view),
    ]),
  );
}

/** Runs `check` on both forms of a file. */
function both(
  root: Bytes,
  storages: Storages,
  check: (bytes: Bytes) => void,
): void {
  check(zipFile(root, storages));
  check(legacyFile(root, storages));
}

function refuses(bytes: Bytes, message: RegExp): void {
  throws(() => parseTorchFile(bytes), { name: "SyntaxError", message });
}

const F32 = (values: number[]) => Float32Array.from(values);
const SIX: Saved = { type: "Float", key: "0", count: 6 };
const SIX_VALUES = F32([0, 1.5, -2, 3, 4, 5]);

Deno.test("parseTorchFile() reads a state dict of either form", () => {
  const weight = call(
    global("torch._utils", "_rebuild_parameter"),
    tensor(storage(SIX), 0, [2, 3], [3, 1]),
    join(0x88),
    call(global("collections", "OrderedDict")),
  );
  const scalar = tensor(
    storage({ type: "Int", key: "1", count: 1 }),
    0,
    [],
    [],
  );
  const empty = tensor(
    storage({ type: "Float", key: "2", count: 0 }),
    0,
    [0, 7],
    [7, 1],
  );
  // A module's state dict has attributes, which are not wanted here.
  const root = join(
    orderedDict({ "conv.weight": weight, count: scalar, none: empty }),
    dict({ _metadata: orderedDict({}) }),
    "b",
  );
  const storages = { 0: SIX_VALUES, 1: Int32Array.of(-7), 2: F32([]) };
  both(root, storages, (bytes) =>
    deepStrictEqual(parseTorchFile(bytes), {
      "conv.weight": { dtype: "f32", shape: [2, 3], data: SIX_VALUES },
      count: { dtype: "i32", shape: [], data: Int32Array.of(-7) },
      none: { dtype: "f32", shape: [0, 7], data: F32([]) },
    }));
});

Deno.test("parseTorchFile() makes views of a shared storage row-major", () => {
  const root = dict({
    transposed: tensor(storage(SIX), 0, [3, 2], [1, 3]),
    row: tensor(storage(SIX), 3, [3], [1]),
    every: tensor(storage(SIX), 1, [3], [2]),
    expanded: tensor(storage(SIX), 5, [2, 1, 2], [0, 1, 0]),
    last: tensor(storage(SIX), 5, [], []),
  });
  both(root, { 0: SIX_VALUES }, (bytes) => {
    const tensors = parseTorchFile(bytes);
    const data = (name: string) => Array.from(tensors[name]!.data);
    deepStrictEqual(data("transposed"), [0, 3, 1.5, 4, -2, 5]);
    deepStrictEqual(data("row"), [3, 4, 5]);
    deepStrictEqual(data("every"), [1.5, 3, 5]);
    deepStrictEqual(data("expanded"), [5, 5, 5, 5]);
    deepStrictEqual(data("last"), [5]);
    deepStrictEqual(tensors.expanded!.shape, [2, 1, 2]);
  });
});

Deno.test("parseTorchFile() converts every type of storage", () => {
  const cases: [string, ArrayBufferView<ArrayBuffer>, string, number[]][] = [
    ["Float", F32([1.25, -0]), "f32", [1.25, -0]],
    ["Half", Float16Array.of(1.5, -65504), "f32", [1.5, -65504]],
    ["BFloat16", Uint16Array.of(0x3fc0, 0xff80), "f32", [1.5, -Infinity]],
    ["Double", Float64Array.of(0.1, -3), "f32", [Math.fround(0.1), -3]],
    ["Long", BigInt64Array.of(-5n, 2147483647n), "i32", [-5, 2147483647]],
    ["Int", Int32Array.of(-5, 6), "i32", [-5, 6]],
    ["Short", Int16Array.of(-300, 300), "i32", [-300, 300]],
    ["Char", Int8Array.of(-1, 127), "i32", [-1, 127]],
    ["Byte", Uint8Array.of(0, 255), "i32", [0, 255]],
    ["Bool", Uint8Array.of(0, 1), "i32", [0, 1]],
  ];
  for (const [type, values, dtype, want] of cases) {
    const root = dict({
      x: tensor(storage({ type, key: "a", count: 2 }), 0, [2], [1]),
    });
    both(root, { a: values }, (bytes) => {
      const { x } = parseTorchFile(bytes);
      deepStrictEqual([x!.dtype, Array.from(x!.data)], [dtype, want], type);
    });
  }
});

Deno.test("parseTorchFile() names the tensor whose elements do not fit", () => {
  const of = (type: string) =>
    dict({
      steps: tensor(storage({ type, key: "0", count: 2 }), 0, [2], [1]),
    });
  both(
    of("Long"),
    { 0: BigInt64Array.of(1n, 2n ** 31n) },
    (bytes) =>
      refuses(
        bytes,
        /element 1 of steps must fit i32: it is 2147483648 \(Long/,
      ),
  );
  both(
    of("Double"),
    { 0: Float64Array.of(1e300, 1) },
    (bytes) => refuses(bytes, /element 0 of steps must fit f32: it is 1e\+300/),
  );
  both(
    of("Bool"),
    { 0: Uint8Array.of(1, 2) },
    (bytes) =>
      refuses(bytes, /element 1 of steps must fit i32: it is 2 \(Bool/),
  );
});

Deno.test("parseTorchFile() flattens dictionaries, picks one, and lists what is no tensor", () => {
  const x = tensor(storage(SIX), 0, [1], [1]);
  const y = tensor(storage(SIX), 1, [1], [1]);
  const root = dict({
    state_dict: orderedDict({ "a.b": x }),
    ema: dict({ "a.b": y }),
    epoch: int(3),
    size: call(global("torch", "Size"), list(int(4))),
    device: call(global("torch", "device"), str("cuda"), int(0)),
    optimizer: dict({ groups: list(y, NONE) }),
  });
  both(root, { 0: SIX_VALUES }, (bytes) => {
    const ignored: string[] = [];
    const onIgnored = (name: string, kind: string) => {
      ignored.push(`${name} ${kind}`);
    };
    deepStrictEqual(Object.keys(parseTorchFile(bytes, { onIgnored })), [
      "state_dict.a.b",
      "ema.a.b",
      "optimizer.groups.0",
    ]);
    deepStrictEqual(ignored, [
      "epoch number",
      "size.0 number",
      "device string",
      "optimizer.groups.1 null",
    ]);
    deepStrictEqual(parseTorchFile(bytes, { key: "ema" }), {
      "a.b": { dtype: "f32", shape: [1], data: F32([1.5]) },
    });
    throws(() => parseTorchFile(bytes, { key: "model" }), {
      name: "RangeError",
      message:
        /nothing is under the key model: the file has state_dict, ema, epoch/,
    });
  });
});

Deno.test("parseTorchFile() reads a view of an old file's storage, and a tensor alone", () => {
  const view = tuple(str("v"), int(2), int(3));
  const bytes = legacyFile(tensor(storage(SIX, view), 1, [2], [1]), {
    0: SIX_VALUES,
  });
  deepStrictEqual(Array.from(parseTorchFile(bytes)[""]!.data), [3, 4]);
});

Deno.test("parseTorchFile() reads dictionaries made of pairs, as Python 2 wrote them", () => {
  const ordered = global("collections", "OrderedDict");
  const pair = list(str("a"), tensor(storage(SIX), 3, [], []));
  both(
    call(ordered, list(pair)),
    { 0: SIX_VALUES },
    (bytes) =>
      deepStrictEqual(parseTorchFile(bytes), {
        a: { dtype: "f32", shape: [], data: F32([3]) },
      }),
  );
  both(
    call(ordered, list(list(NONE))),
    {},
    (bytes) => refuses(bytes, /must be made of pairs/),
  );
});

Deno.test("parseTorchFile() runs nothing: other globals are refused by name", () => {
  const marker = Deno.makeTempFileSync();
  Deno.removeSync(marker);
  const touch = str(`touch ${marker}`);
  for (
    const [module, name] of [
      ["os", "system"],
      ["posix", "system"],
      ["builtins", "eval"],
      ["__builtin__", "eval"],
      ["torch.storage", "_load_from_bytes"],
      ["torch._utils", "_rebuild_tensor"],
      ["constructor", "constructor"],
      ["torch", "nn.Module"],
    ] as const
  ) {
    const message = new RegExp(
      `asks for ${module}\\.${name}, .*nothing was executed`,
    );
    const forms = [
      call(global(module, name), touch), // GLOBAL, REDUCE
      join(global(module, name), tuple(touch), [0x81]), // NEWOBJ
      join("(", touch, `i${module}\n${name}\n`), // INST
      join("(", global(module, name), touch, "o"), // OBJ
      join(str(module), str(name), 0x93, tuple(touch), "R"), // STACK_GLOBAL
    ];
    for (const form of forms) {
      both(dict({ x: form }), {}, (bytes) => refuses(bytes, message));
    }
  }
  throws(() => Deno.statSync(marker), Deno.errors.NotFound);
});

Deno.test("parseTorchFile() refuses what is no honest file", () => {
  const at = (offset: number, shape: number[], strides: number[]) =>
    dict({ x: tensor(storage(SIX), offset, shape, strides) });
  const zeros = { 0: SIX_VALUES };
  const cases: [Bytes, Storages, RegExp][] = [
    [at(1, [6], [1]), zeros, /must lie in its storage of 6 elements/],
    [at(0, [2, 3], [4, 1]), zeros, /last element 6/],
    [at(-1, [1], [1]), zeros, /must have an offset/],
    [at(0, [-1], [1]), zeros, /a shape must be at most 64 whole numbers/],
    [at(0, [1], [1, 1]), zeros, /a stride for each axis/],
    [at(0, [2 ** 30, 2 ** 30], [0, 0]), zeros, /x .*not have more elements/],
    [at(0, [6], [1]), { 0: F32([1]) }, /the storage 0 must/],
    [at(0, [6], [1]), {}, /the storage 0 (is missing|must have 24 bytes)/],
    [dict({ x: tensor(NONE, 0, [], []) }), {}, /must have a storage/],
    [dict({ x: call(str("f")) }), {}, /cannot be/],
    // `x` twice, once as a name with a dot.
    [
      dict({
        "a.b": tensor(storage(SIX), 0, [], []),
        a: dict({ b: tensor(storage(SIX), 0, [], []) }),
      }),
      zeros,
      /the name a\.b appears twice/,
    ],
    // A dictionary in itself.
    [join("}q\0", str("d"), "h\0s"), {}, /nest without end/],
    // Each dictionary holds the one before twice: 2^60 names.
    [
      join(
        "}",
        ...Array.from(
          { length: 60 },
          () => join("q\x000}(", str("a"), "h\0", str("b"), "h\0u"),
        ),
      ),
      {},
      /nest without end/,
    ],
  ];
  for (const [root, storages, message] of cases) {
    both(root, storages, (bytes) => refuses(bytes, message));
  }
  refuses(legacyFile(NONE, {}, false), /the byte order must be little/);
  refuses(wrap(NONE), /begin with PyTorch's number/);
  refuses(new Uint8Array(), /begin as a zip archive or as a pickle/);
  refuses(join(legacyFile(NONE), "x"), /the file must end with its last/);
  refuses(join(zipFile(NONE), "x"), /must end with its directory/);
  const archive = (files: Record<string, Bytes>, level: 0 | 9 = 0) =>
    zipSync(files, { level }) as Bytes;
  refuses(archive({ "a/b": wrap(NONE) }), /one data\.pkl: it has 0/);
  refuses(archive({ "a/data.pkl": join(wrap(NONE), "N") }), /it has more/);
  refuses(
    archive({ "a/data.pkl": new Uint8Array(9999) }, 9),
    /stored, not compressed/,
  );
  const twice = archive({ "a/data.pkl": wrap(NONE), "b/data.pkl": wrap(NONE) });
  refuses(twice, /one data\.pkl: it has 2/);
  const name = new TextDecoder("latin1").decode(twice).lastIndexOf(
    "b/data.pkl",
  );
  twice[name] = 0x61; // in the directory, where it counts
  refuses(twice, /the archive has a\/data\.pkl twice/);
  refuses(
    archive({ "a/data.pkl": wrap(NONE), "a/byteorder": ascii("big") }),
    /the byte order must be little/,
  );
});

Deno.test("parseTorchFile() refuses a file cut at any byte, and survives any byte changed", () => {
  const root = dict({ x: tensor(storage(SIX), 0, [2, 3], [1, 2]) });
  both(root, { 0: SIX_VALUES }, (bytes) => {
    for (let length = 0; length < bytes.length; length++) {
      refuses(bytes.slice(0, length), /^Cannot (parse|read)/);
    }
    const words = philoxWords(2000, [5, 0]);
    for (let i = 0; i < words.length; i += 2) {
      const changed = bytes.slice();
      changed[words[i]! % bytes.length] = words[i + 1]! & 255;
      try {
        parseTorchFile(changed);
      } catch (error) {
        ok(error instanceof SyntaxError, String(error));
      }
    }
  });
});

Deno.test("loadTorchFile() reads a path and names the file in errors", async () => {
  const path = await Deno.makeTempFile({ suffix: ".pt" });
  try {
    const root = dict({ x: tensor(storage(SIX), 0, [6], [1]) });
    await Deno.writeFile(path, zipFile(root, { 0: SIX_VALUES }));
    deepStrictEqual((await loadTorchFile(path)).x!.data, SIX_VALUES);
    await Deno.writeFile(path, ascii("nothing"));
    const error = await loadTorchFile(path).catch((error) => error);
    ok(error instanceof SyntaxError && error.message.startsWith(path));
  } finally {
    await Deno.remove(path);
  }
});

const names = { globals: new Map<string, unknown>() };
const read = (body: string | Bytes) => readPickle(join(body), 0, names).value;

Deno.test("readPickle() reads every kind of value, of old protocols and new", () => {
  // Known answers: `pickle.dumps(value, protocol)` of CPython 3.
  const cases: [string, unknown][] = [
    ["492d350a2e", -5],
    ["80024afbffffff2e", -5],
    ["80049506000000000000004afbffffff2e", -5],
    [
      "286c70300a49310a61493330300a614937303030300a61492d310a614c313039393531313632373737364c0a612e",
      [1, 300, 70000, -1, 2 ** 40],
    ],
    ["80025d7100284b014d2c014a701101004affffffff8a06000000000001652e", [
      1,
      300,
      70000,
      -1,
      2 ** 40,
    ]],
    [
      "8004951c000000000000005d94284b014d2c014a701101004affffffff8a06000000000001652e",
      [1, 300, 70000, -1, 2 ** 40],
    ],
    ["4c313230383932353831393631343632393137343730363137364c0a2e", 2n ** 80n],
    ["80028a0b00000000000000000000012e", 2n ** 80n],
    ["8004950e000000000000008a0b00000000000000000000012e", 2n ** 80n],
    ["4c2d313138303539313632303731373431313330333432344c0a2e", -(2n ** 70n)],
    ["80028a090000000000000000c02e", -(2n ** 70n)],
    ["8004950c000000000000008a090000000000000000c02e", -(2n ** 70n)],
    ["286c70300a4930310a614930300a614e6146302e350a612e", [
      true,
      false,
      null,
      0.5,
    ]],
    ["80025d71002888894e473fe0000000000000652e", [true, false, null, 0.5]],
    ["80049511000000000000005d942888894e473fe0000000000000652e", [
      true,
      false,
      null,
      0.5,
    ]],
    [
      "56636166e9205c5530303031663630305c75303030610a70300a2e",
      "caf\u00e9 \u{1f600}\n",
    ],
    ["8002580b000000636166c3a920f09f98800a71002e", "caf\u00e9 \u{1f600}\n"],
    [
      "8004950f000000000000008c0b636166c3a920f09f98800a942e",
      "caf\u00e9 \u{1f600}\n",
    ],
    [
      "286470300a56610a70310a286c70320a7349330a286470330a732e",
      new Map<unknown, unknown>([["a", []], [3, new Map()]]),
    ],
    [
      "80027d71002858010000006171015d71024b037d7103752e",
      new Map<unknown, unknown>([["a", []], [3, new Map()]]),
    ],
    [
      "8004950f000000000000007d94288c0161945d944b037d94752e",
      new Map<unknown, unknown>([["a", []], [3, new Map()]]),
    ],
    [
      "2849310a28742849310a49320a49330a49340a7470300a7470310a2e",
      new PickleTuple([1, new PickleTuple([]), new PickleTuple([1, 2, 3, 4])]),
    ],
    [
      "80024b0129284b014b024b034b047471008771012e",
      new PickleTuple([1, new PickleTuple([]), new PickleTuple([1, 2, 3, 4])]),
    ],
    [
      "80049511000000000000004b0129284b014b024b034b04749487942e",
      new PickleTuple([1, new PickleTuple([]), new PickleTuple([1, 2, 3, 4])]),
    ],
    ["8003430200ff71002e", Uint8Array.of(0, 255)],
    ["80049507000000000000008f94284b07902e", new Set([7])],
    ["8005950600000000000000284b0791942e", new Set([7])],
    ["8005950c0000000000000096010000000000000001942e", Uint8Array.of(1)],
  ];
  for (const [hex, want] of cases) {
    deepStrictEqual(read(Uint8Array.fromHex(hex)), want, hex);
  }
  deepStrictEqual(read("S'a\\'\\x41\\n'\n."), "a'A\n");
  deepStrictEqual(read("(I1\nI2\n0I3\nl."), [1, 3]);
  deepStrictEqual(read("(I1\n1N."), null);
  deepStrictEqual(
    read("(S'a'\nNd."),
    new Map<unknown, unknown>([["a", null]]),
  );
});

Deno.test("readPickle() refuses broken programs", () => {
  const cases: [string | Bytes, RegExp][] = [
    ["", /ends too early/],
    ["N", /ends too early/],
    [".", /the stack is empty/],
    ["(.", /the stack is empty/],
    ["NN.", /values are left over/],
    ["t.", /there is no mark/],
    ["h\x07.", /nothing was kept under 7/],
    ["g7\n.", /nothing was kept under 7/],
    ["gx\n.", /must be digits/],
    ["Ix\n.", /must be digits/],
    ["Fx\n.", /must be a number/],
    ["Nq", /ends too early/],
    ["NNs.", /the stack is empty/],
    ["NNNs.", /set on no dict/],
    ["NNa.", /appended to no list/],
    ["}(Nu.", /a key has no value/],
    ["NQ.", /persistent ids mean nothing/],
    ["NNR.", /cannot be/],
    ["cos\nsystem\n.", /os\.system.*nothing was executed/],
    ["NN\x93.", /./],
    [join([0x80, 6]), /protocol 6 is not known/],
    [join([0x82, 1]), /opcode 0x82 at 0 is not known/],
    [join([0x97]), /opcode 0x97/],
    [join("X", [255, 255, 255, 255]), /4294967295 bytes are wanted/],
    [join(0x8d, new Uint8Array(8).fill(255)), /ends too early/],
    [join(0x95, new Uint8Array(8).fill(255)), /a frame of/],
    [join(0x8b, [255, 255, 255, 127]), /an integer must have/],
    [join(0x8b, [255, 255, 255, 255]), /it claims -1/],
    [join("X", u32(1), 0xff), /must be UTF-8/],
  ];
  for (const [body, message] of cases) {
    throws(() => read(body), { name: "SyntaxError", message });
  }
  // A million lists in one another: the reader's own stack does not grow with them.
  ok(Array.isArray(read("]".repeat(1e6) + "a".repeat(1e6 - 1) + ".")));
});
