/**
 * Cases of the group `inception`: the network of FID with weights by a recipe.
 *
 * @module
 */
import {
  type HostTensor,
  imageResizer,
  INCEPTION_SIZE,
  InceptionV3,
  mean,
  noGrad,
  Rng,
  scale,
  scope,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { philoxWords, toUnit } from "../../tensor/philox.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  roleOf,
  type Values,
} from "./case.ts";

/** CRC-32 of ASCII text, as zlib has it. */
function crc32(text: string): number {
  let crc = ~0;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** What becomes of a draw in [0, 1), by the last part of the name. */
function drawOf(
  name: string,
  shape: readonly number[],
): (u: number) => number {
  if (/\.bn\.(weight|running_var)$/.test(name)) return (u) => 0.5 + u;
  if (shape.length === 1) return (u) => (u - 0.5) * 0.2;
  const fanIn = shape.slice(1).reduce((a, b) => a * b);
  const gain = name === "fc.weight" ? 1 : 2;
  const spread = 2 * Math.sqrt(3) * Math.sqrt(gain / fanIn);
  return (u) => (u - 0.5) * spread;
}

/** The state of the network by the recipe. */
function* weightsOf(
  network: InceptionV3,
): Iterable<[name: string, value: HostTensor]> {
  for (const [name, { shape, size }] of Object.entries(network.stateDict())) {
    const draw = drawOf(name, shape);
    const words = philoxWords(size, [crc32(name), 0]);
    const data = Float32Array.from(words, (word) => draw(toUnit(word)));
    yield [name, { dtype: "f32", shape, data }];
  }
}

/** The network by the recipe, made once for all cases. */
let made: { network: InceptionV3; weights: Map<string, HostTensor> };

function inception(): typeof made {
  if (made) return made;
  const network = new InceptionV3(new Rng(0));
  const weights = new Map(weightsOf(network));
  network.loadStateDict(Object.fromEntries(weights));
  return made = { network: network.folded(), weights };
}

function checkWeights(one: Case): Values {
  const { weights } = inception();
  const names = Object.keys(one.attrs.tensors);
  const sums = names.map((name) => {
    let sum = 0;
    for (const value of weights.get(name)!.data) sum += value;
    return sum;
  });
  return Object.fromEntries(one.outputs.map((output) => {
    const data = weights.get(roleOf(output))?.data;
    const [, part] = output.split("/");
    return [
      output.replace(/\.(hi|lo)$/, ""),
      part === "first" ? data!.slice(0, 8) : data?.slice(-4) ?? sums,
    ];
  }));
}

/** Numbers of one place in the network, by what follows the dot in the name of an output. */
async function describe(
  map: Tensor,
): Promise<Record<string, ArrayLike<number>>> {
  const data = Float64Array.from(await map.data());
  const [n, channels = 1] = map.shape as [number, number];
  const size = data.length / n, plane = size / channels;
  const images = Array.from(
    { length: n },
    (_, i) => data.subarray(i * size, (i + 1) * size),
  );
  const total = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
  const means = images.map((image) => total(image) / size);
  return {
    full: data,
    mean: means,
    std: images.map((image, i) =>
      Math.sqrt(total(image.map((x) => (x - means[i]!) ** 2)) / size)
    ),
    channel_means: images.flatMap((image) =>
      Array.from(
        { length: channels },
        (_, c) => total(image.subarray(c * plane, (c + 1) * plane)) / plane,
      )
    ),
    first16: images.flatMap((image) => [...image.subarray(0, 16)]),
    spread16: images.flatMap((image) =>
      Array.from(
        { length: 16 },
        (_, i) => image[Math.floor(i * (size - 1) / 15)]!,
      )
    ),
    sum: images.map(total),
    sum_squares: images.map((image) => total(image.map((x) => x * x))),
  };
}

async function checkForward(one: Case, arrays: Arrays): Promise<Values> {
  const { network } = inception();
  const { data, shape } = arrayOf(arrays, one.inputs[0]!);
  const [, , height, width] = shape;
  const resize = imageResizer(height!, width!, INCEPTION_SIZE);
  const { mixed6d: _, ...places } = scope(() =>
    noGrad(() => {
      const x = resize(tensor(Float32Array.from(data), shape));
      const maps = network.maps(x);
      const pool = mean(maps.mixed7c, { axis: [2, 3] });
      const logits = network.logits(pool);
      return { resized: scale(x, 0.5, 0.5), ...maps, pool, logits };
    })
  );
  const found = new Map<string, Record<string, ArrayLike<number>>>();
  for (const [place, map] of Object.entries(places)) {
    found.set(place, await describe(map));
  }
  return Object.fromEntries(one.outputs.map((output) => {
    const [place, part] = roleOf(output).split(".");
    return [output, found.get(place!.replace("mixed_7c", "mixed7c"))![part!]!];
  }));
}

/** Computes a case. */
export function runInception(
  one: Case,
  arrays: Arrays,
): Values | Promise<Values> {
  return one.op === "inception_weights"
    ? checkWeights(one)
    : checkForward(one, arrays);
}
