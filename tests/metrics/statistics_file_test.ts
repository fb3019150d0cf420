import assert from "node:assert/strict";
import { strToU8, unzipSync, zipSync } from "npm:fflate@0.8.3";
import {
  FeatureStatistics,
  frechetDistance,
  parseStatistics,
  Rng,
  statisticsBytes,
} from "../../mod.ts";
import { philoxWords } from "../../tensor/philox.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const EXTRACTOR = { name: "lenet-mnist", sha256: "5e1f", resize: "none" };

async function statistics(n: number, d: number): Promise<FeatureStatistics> {
  const data = await new Rng(1).normal([n, d]).data();
  return new FeatureStatistics(d).add({ data, shape: [n, d] });
}

/** A `.npy` file as NumPy lays it out: the header is padded so that data begin at a multiple of 64. */
function npy(
  descr: string,
  shape: string,
  data: ArrayBuffer,
  { version = 1, fortran = false } = {},
): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${
    fortran ? "True" : "False"
  }, 'shape': ${shape}, }`;
  const prefix = version === 1 ? 10 : 12;
  const padding = 63 - (prefix + text.length) % 64;
  const length = text.length + padding + 1;
  const sizeBytes = version === 1 ? [length, 0] : [length, 0, 0, 0];
  return Uint8Array.of(
    0x93,
    ...strToU8("NUMPY"),
    version,
    0,
    ...sizeBytes,
    ...strToU8(`${text}${" ".repeat(padding)}\n`),
    ...new Uint8Array(data),
  );
}

function bigEndian(values: number[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setFloat32(4 * i, value));
  return view.buffer;
}

const MU = npy("<f8", "(2,)", Float64Array.of(1, 2).buffer);
const SIGMA = npy("<f8", "(2, 2)", Float64Array.of(2, .5, .5, 1).buffer);

function archive(files: Record<string, Uint8Array>, level: 0 | 6 = 0): Bytes {
  return zipSync(files, { level }) as Bytes;
}

function refuses(bytes: Bytes, message: RegExp): void {
  assert.throws(() => parseStatistics(bytes), (error: Error) => {
    assert.ok(error instanceof SyntaxError, String(error));
    assert.match(error.message, message);
    return true;
  });
}

Deno.test("statisticsBytes() and parseStatistics() keep every bit", async () => {
  const given = await statistics(9, 5);
  const read = parseStatistics(statisticsBytes(given, EXTRACTOR), {
    ...EXTRACTOR,
    dimensions: 5,
  });
  assert.deepEqual(read, {
    mean: given.mean(),
    covariance: given.covariance(),
    count: 9,
    extractor: EXTRACTOR,
  });
  assert.ok(await frechetDistance(read, given) < 1e-9);
  const { count: _, ...bare } = read;
  assert.deepEqual(
    Object.keys(parseStatistics(statisticsBytes({
      mean: bare.mean,
      covariance: bare.covariance,
    }))),
    ["mean", "covariance"],
  );
});

Deno.test("statisticsBytes() are laid out as NumPy's", () => {
  const bytes = statisticsBytes({
    mean: [1, 2],
    covariance: [2, .5, .5, 1],
    count: 77,
  }, EXTRACTOR);
  const files = unzipSync(bytes);
  assert.deepEqual(Object.keys(files), [
    "mu.npy",
    "sigma.npy",
    "n.npy",
    "extractor.npy",
  ]);
  assert.deepEqual(files["mu.npy"], MU);
  assert.deepEqual(files["sigma.npy"], SIGMA);
  assert.deepEqual(
    files["n.npy"],
    npy("<i8", "()", BigInt64Array.of(77n).buffer),
  );
  const json = JSON.stringify(EXTRACTOR);
  assert.deepEqual(
    files["extractor.npy"],
    npy(
      `<U${json.length}`,
      "()",
      Uint32Array.from(json, (letter) => letter.charCodeAt(0)).buffer,
    ),
  );
});

Deno.test("parseStatistics() reads what NumPy writes", () => {
  const want = {
    mean: Float64Array.of(1, 2),
    covariance: Float64Array.of(2, .5, .25, 1), // of unequal halves, to see the order
  };
  const c = Float64Array.of(2, .5, .25, 1).buffer;
  const fortran = Float64Array.of(2, .25, .5, 1).buffer;
  const sigmas = [
    npy("<f8", "(2, 2)", c),
    npy("<f8", "(2, 2)", c, { version: 2 }),
    npy("<f8", "(2, 2)", fortran, { version: 3, fortran: true }),
    npy("<f4", "(2, 2)", Float32Array.of(2, .5, .25, 1).buffer),
    npy(">f4", "(2, 2)", bigEndian([2, .5, .25, 1])),
  ];
  for (const sigma of sigmas) {
    for (const level of [0, 6] as const) {
      const other = npy("|O", "(1,)", new ArrayBuffer(3));
      assert.deepEqual(
        parseStatistics(
          archive(
            { "mu.npy": MU, "other.npy": other, "sigma.npy": sigma },
            level,
          ),
        ),
        want,
      );
    }
  }
});

Deno.test("parseStatistics() refuses features of something else", async () => {
  const bytes = statisticsBytes(await statistics(4, 3), EXTRACTOR);
  assert.throws(
    () => parseStatistics(bytes, { ...EXTRACTOR, dimensions: 2048 }),
    /lenet-mnist have 2048 dimensions: the statistics have 3/,
  );
  const other = { ...EXTRACTOR, resize: "clean-fid", dimensions: 3 };
  assert.throws(() => parseStatistics(bytes, other), (error: Error) => {
    assert.ok(error instanceof RangeError);
    assert.match(error.message, /resize clean-fid.*are of .*resize none/);
    return true;
  });
  // Files of other tools do not say.
  parseStatistics(archive({ "mu.npy": MU, "sigma.npy": SIGMA }), {
    ...other,
    dimensions: 2,
  });
});

Deno.test("parseStatistics() says what a file lacks", () => {
  refuses(
    strToU8("no archive, but long enough") as Bytes,
    /end with its directory/,
  );
  refuses(archive({}), /mu and sigma: it has none/);
  refuses(archive({ "arr_0.npy": MU, "mu.npy": MU }), /it has arr_0, mu/);
  const swapped = archive({ "mu.npy": SIGMA, "sigma.npy": MU });
  refuses(swapped, /they are \[2, 2\] and \[2\]$/);
  const mu = (file: Uint8Array) =>
    archive({ "mu.npy": file, "sigma.npy": SIGMA });
  refuses(mu(strToU8("text")), /mu cannot be read: an array must begin/);
  refuses(mu(MU.subarray(0, -1)), /shape \[2\] must have 16 bytes: it has 15/);
  refuses(mu(npy("|O", "(2,)", new ArrayBuffer(16))), /f8, f4.*'\|O'/);
  refuses(mu(npy("<f8", "(2", new ArrayBuffer(16))), /its header is/);
  refuses(mu(npy("<U2", "(2,)", new ArrayBuffer(16))), /of numbers: they are/);
  refuses(mu(npy("<U0", "(99999999,)", new ArrayBuffer(0))), /f8, f4/);
  const whole = { "mu.npy": MU, "sigma.npy": SIGMA };
  const n = npy("<f8", "()", Float64Array.of(1.5).buffer);
  refuses(archive({ ...whole, "n.npy": n }), /n must be whole.*is 1\.5/);
  const letters = npy("<U2", "()", Uint32Array.of(0x7b, 0x7d).buffer);
  refuses(
    archive({ ...whole, "extractor.npy": letters }),
    /name, sha256 and resize: it is \{\}/,
  );
});

Deno.test("parseStatistics() refuses a file cut at any byte, and notices any byte changed", () => {
  for (const level of [0, 6] as const) {
    const bytes = archive({ "mu.npy": MU, "sigma.npy": SIGMA }, level);
    const want = parseStatistics(bytes);
    for (let length = 0; length < bytes.length; length++) {
      refuses(bytes.slice(0, length), /^Cannot parse statistics/);
    }
    const words = philoxWords(2000, [7, 0]);
    for (let i = 0; i < words.length; i += 2) {
      const changed = bytes.slice();
      changed[words[i]! % bytes.length] = words[i + 1]! & 255;
      try {
        assert.deepEqual(parseStatistics(changed), want);
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error));
      }
    }
  }
});
