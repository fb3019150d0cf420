/**
 * Published weights: how a file is read, and how its names are those of a network.
 *
 * @module
 */
import { type HostTensor, parseSafetensors, parseTorchFile } from "../mod.ts";
import { UsageError } from "./_cli.ts";

type Weights = Record<string, HostTensor>;

/** In every pickle that holds Python code, as EDM and StyleGAN write them. */
const PERSISTENT = new TextEncoder().encode("_reconstruct_persistent_obj");
/** Where to look for it. */
const HEAD_BYTES = 1 << 16;
/** Entries that some originals save and that networks here compute. */
const COMPUTED = ["time_embed.weight"];
/** Names that a message shows. */
const SHOWN = 3;

/**
 * Reads a safetensors file, or one that `torch.save` wrote; numbers of two bytes become f32.
 *
 * @param name Of the file, for messages.
 * @throws {SyntaxError} If it is neither, is cut off, or wants Python to be run.
 */
export function parseWeights(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
): Weights {
  // A zip archive or a pickle. A safetensors file may begin so too, with the length of its header,
  // a brace after it.
  const isTorch = (bytes[0] === 0x50 || bytes[0] === 0x80) && bytes[8] !== 0x7b;
  if (isTorch && includes(bytes.subarray(0, HEAD_BYTES), PERSISTENT)) {
    throw new SyntaxError(
      `Cannot import ${name} as it is a pickle with Python code in it, which is never run here: in the ` +
        "project that wrote it, load it and save the weights alone, " +
        `torch.save(pickle.load(file)["ema"].state_dict(), "weights.pt")`,
    );
  }
  try {
    return isTorch ? parseTorchFile(bytes) : parseSafetensors(bytes).tensors;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot import ${name}: ${error.message}`, {
      cause: error,
    });
  }
}

function includes(bytes: Uint8Array, part: Uint8Array): boolean {
  for (let at = bytes.indexOf(part[0]!); at >= 0;) {
    if (part.every((byte, i) => bytes[at + i] === byte)) return true;
    at = bytes.indexOf(part[0]!, at + 1);
  }
  return false;
}

/** What of a file is taken. */
export interface Selection {
  /** By the network's names, and what else is under the key. */
  weights: Weights;
  /** What the names in the file begin with. */
  key: string;
  /** Other keys under which the file has just as much. */
  others: string[];
}

/**
 * Finds a network's state among the names of a file, in whatever it is wrapped (`state_dict`, `model`,
 * `ema`, `module`): under the key that has most of the names, a moving average before other weights.
 *
 * @param wanted The network's own names.
 * @param asked A key to take instead, such as `ema`.
 * @throws {UsageError} If the file has none of the names, or not those.
 */
export function selectWeights(
  weights: Weights,
  wanted: readonly string[],
  asked?: string,
): Selection {
  const own = new Set(wanted);
  const counts = new Map<string, number>();
  for (const name of Object.keys(weights)) {
    for (let at = 0; at >= 0; at = name.indexOf(".", at) + 1 || -1) {
      const key = name.slice(0, at);
      if (!own.has(name.slice(at))) continue;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  const most = Math.max(0, ...counts.values());
  const best = [...counts.keys()].filter((key) => counts.get(key) === most)
    .sort((a, b) => Number(/ema/i.test(b)) - Number(/ema/i.test(a)));
  const key = asked === undefined
    ? best[0]
    : [...counts.keys()].find((key) => key === asked || key === `${asked}.`);
  if (key === undefined) {
    const some = (names: readonly string[]) =>
      names.slice(0, SHOWN).join(", ") + (names.length > SHOWN ? ", …" : "");
    throw new UsageError(
      `Cannot find the network's weights ${
        asked === undefined ? "in the file" : `under ${asked}`
      }: it has ${some(Object.keys(weights)) || "none"}, but the network has ${
        some(wanted)
      }. Is --preset the right one?`,
    );
  }
  const under = Object.entries(weights).flatMap(([name, value]) =>
    name.startsWith(key) ? [[name.slice(key.length), value] as const] : []
  );
  return {
    key,
    others: best.filter((other) => other !== key && other !== ""),
    weights: Object.fromEntries(
      under.filter(([name]) => own.has(name) || !COMPUTED.includes(name)),
    ),
  };
}

/**
 * Adds the row for "no class" to an embedding that is published without it, as its network adds
 * nothing for such images: zeros.
 *
 * @param name Of the embedding.
 * @param rows That the network has.
 */
export function withNoClass(
  weights: Weights,
  name: string,
  rows: number,
): Weights {
  const embedding = weights[name];
  if (embedding?.shape[0] !== rows - 1) return weights;
  const data = new Float32Array(
    embedding.data.length + embedding.data.length / (rows - 1),
  );
  data.set(embedding.data as Float32Array);
  const shape = embedding.shape.with(0, rows);
  return { ...weights, [name]: { dtype: "f32", shape, data } };
}

/**
 * Throws if a weight is NaN or infinite.
 *
 * @throws {RangeError} Naming the tensors.
 */
export function requireFinite(weights: Weights): void {
  const wrong = Object.keys(weights).filter((name) => {
    const { dtype, data } = weights[name]!;
    return dtype === "f32" && !data.every(Number.isFinite);
  });
  if (wrong.length === 0) return;
  throw new RangeError(
    `Cannot import weights that are NaN or infinite: ${wrong.join(", ")}`,
  );
}
