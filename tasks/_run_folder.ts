/**
 * The folder of a run: configuration, log, checkpoints, samples. Every file is
 * complete at any moment: written beside its place, flushed, then renamed.
 *
 * ```
 * runs/ddpm-digits-20260131-120000/
 *   config.yaml             the resolved configuration, and under `run` its surroundings
 *   metrics.jsonl           one JSON object per log line
 *   checkpoints/step-500.safetensors, latest
 *   samples/step-500.png
 *   summary.json
 * ```
 *
 * @module
 */
import { UsageError } from "./_cli.ts";
import { basename, dirname, join } from "./_path.ts";
import { formatBytes } from "./_text.ts";
import { parse, stringify } from "./_yaml.ts";

/** The file operations of `writeAtomic`; a test puts a failing disk here. */
export interface AtomicFileSystem {
  open(path: string): Promise<
    Pick<Deno.FsFile, "write" | "sync" | "close">
  >;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
}

const DISK: AtomicFileSystem = {
  open: (path) => Deno.open(path, { write: true, createNew: true }),
  rename: Deno.rename,
  remove: (path) => Deno.remove(path),
};

/**
 * Writes a file so that at any moment, also if the process is killed or the
 * disk fills up, the path holds either all of the old or all of the new file.
 *
 * @param path Its folder must exist.
 * @param data Bytes, a text, or several pieces in order.
 * @param fileSystem Defaults to the disk.
 * @throws {Error} Naming the file and the bytes needed; the old file stays.
 */
export async function writeAtomic(
  path: string,
  data: string | Uint8Array | readonly Uint8Array[],
  fileSystem: AtomicFileSystem = DISK,
): Promise<void> {
  const pieces = typeof data === "string"
    ? [new TextEncoder().encode(data)]
    : data instanceof Uint8Array
    ? [data]
    : data;
  const temporary = join(
    dirname(path),
    `.${basename(path)}.${crypto.randomUUID().slice(0, 8)}.tmp`,
  );
  try {
    const file = await fileSystem.open(temporary);
    try {
      for (const piece of pieces) await writeAll(file, piece);
      await file.sync();
    } finally {
      file.close();
    }
    await fileSystem.rename(temporary, path);
  } catch (error) {
    await fileSystem.remove(temporary).catch(() => {}); // may not exist
    const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const exact = sizeBytes < 1000 ? "" : ` (${sizeBytes} bytes)`;
    throw new Error(
      `Cannot write ${path}, which needs ${formatBytes(sizeBytes)}${exact}: ${
        reason(error)
      }. A previous version of the file is unchanged`,
      { cause: error },
    );
  }
}

/** Pieces of this size, as a larger write may not fit one system call. */
const PIECE_BYTES = 16 * 2 ** 20;

async function writeAll(
  file: Pick<Deno.FsFile, "write">,
  bytes: Uint8Array,
): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += await file.write(
      bytes.subarray(written, written + PIECE_BYTES),
    );
  }
}

/** An error of the file system, for the end of a sentence. */
function reason(error: unknown): string {
  const { message } = error as Error;
  if (/os error 28\b|ENOSPC|No space left/.test(message)) {
    return "the disk is full";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied";
  }
  const isInTheWay = error instanceof Deno.errors.AlreadyExists ||
    error instanceof Deno.errors.NotADirectory;
  if (isInTheWay) return "a file is in the way";
  return message.replace(/: (open|rename|mkdir|write) .*$/, "");
}

/** What a default run name is made of. */
export interface RunNameParts {
  readonly model: string;
  readonly dataset: string;
  readonly classes?: readonly (string | number)[];
  /** Defaults to now, in local time. */
  readonly date?: Date;
}

/**
 * The default name of a run: `ddpm-cifar10-cat-frog-20260131-120000`.
 *
 * @param parts See `RunNameParts`; characters unfit for a file name become `-`.
 */
export function runName(parts: RunNameParts): string {
  const { model, dataset, classes = [], date = new Date() } = parts;
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${
    two(date.getDate())
  }`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map(two).join("");
  // folder:/photos/cats → folder-cats
  const [kind, ...path] = dataset.split(":");
  const source = path.length > 0
    ? `${kind}-${basename(path.join(":").replace(/[/\\]+$/, ""))}`
    : dataset;
  const chosen = classes.length > 4 ? [`${classes.length}classes`] : classes;
  return [model, source, ...chosen, day, time].map((part) =>
    String(part).replace(/[^\p{L}\p{N}_.-]+/gu, "-").replace(/^[-.]+|-+$/g, "")
  ).join("-");
}

/** A checkpoint on disk. */
export interface CheckpointFile {
  readonly step: number;
  /** `step-500.safetensors` */
  readonly name: string;
  readonly path: string;
}

/** One line of `metrics.jsonl`. */
export type MetricsLine = { step: number } & Record<string, unknown>;

/** A run on disk, new or to be continued. */
export class RunFolder {
  /** Absolute path of the folder. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes the folder of a new run.
   *
   * @param path Made with its parents; it may exist if it holds no run.
   * @throws {UsageError} If it holds a run already, or cannot be made or written.
   */
  static async create(path: string): Promise<RunFolder> {
    const run = new RunFolder(path);
    if (await run.#holdsRun()) {
      throw new UsageError(
        `Cannot start a run in ${path} as it already holds one: continue it with --resume, or choose another folder with --out`,
      );
    }
    await run.#makeFolders("Cannot make the run folder");
    return run;
  }

  /**
   * Makes the folder of a new run under a name of its own: runs started in the
   * same second get `-2`, `-3`, … at the end.
   *
   * @param parent Made if needed, such as `runs`.
   * @param name As from `runName`.
   * @throws {UsageError} If it cannot be made or written.
   */
  static async createNamed(parent: string, name: string): Promise<RunFolder> {
    for (let copy = 1;; copy++) {
      const run = new RunFolder(
        join(parent, copy === 1 ? name : `${name}-${copy}`),
      );
      const attempt = "Cannot make the run folder";
      try {
        await Deno.mkdir(parent, { recursive: true });
        await Deno.mkdir(run.path); // fails if another process was first
      } catch (error) {
        if (
          error instanceof Deno.errors.AlreadyExists && await exists(run.path)
        ) continue;
        throw run.#unusable(attempt, error);
      }
      await run.#makeFolders(attempt);
      return run;
    }
  }

  /**
   * Opens the folder of a run to continue or read it.
   *
   * @param path The folder; `config.yaml` or a checkpoint in it is as good.
   * @throws {UsageError} If there is no run.
   */
  static async open(path: string): Promise<RunFolder> {
    let folder = path;
    if (await isFile(path)) {
      folder = basename(dirname(path)) === "checkpoints"
        ? dirname(dirname(path))
        : dirname(path);
    }
    if (await isFile(join(folder, "config.yaml"))) return new RunFolder(folder);
    const state = await exists(folder)
      ? "it has no config.yaml"
      : "there is no such folder";
    throw new UsageError(`Cannot find a run in ${path}: ${state}`);
  }

  /** The folder's own name. */
  get name(): string {
    return basename(this.path);
  }

  /**
   * Makes an opened run ready to be written again: checks that the folder is
   * writable and removes what a killed process left half-written.
   */
  async prepareToResume(): Promise<void> {
    await this.#makeFolders("Cannot continue the run");
    for (const folder of ["", "checkpoints", "samples"]) {
      for await (const { name } of Deno.readDir(join(this.path, folder))) {
        if (/^\..+\.[0-9a-f]{8}\.tmp$/.test(name)) {
          await Deno.remove(join(this.path, folder, name));
        }
      }
    }
  }

  /**
   * A path inside the folder.
   *
   * @param parts Such as `"samples", "step-500.png"`.
   */
  file(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /**
   * Writes `config.yaml`.
   *
   * @param config The resolved configuration; `--config` reads it back.
   * @param run How it came about: command line, versions, adapter, checksum of
   *   the data. Kept under the key `run`, which `--config` skips.
   */
  writeConfig(
    config: Readonly<Record<string, unknown>>,
    run: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    return writeAtomic(
      this.file("config.yaml"),
      `# The resolved configuration of this run; train --config takes this file too.\n${
        stringify(config)
      }\n# How it came about; not configuration.\n${stringify({ run })}`,
    );
  }

  /**
   * Reads `config.yaml`, unchecked.
   *
   * @returns `config` without the key `run`, and `run`.
   * @throws {Error} If it is missing or does not parse.
   */
  async readConfig(): Promise<{
    config: Record<string, unknown>;
    run: Record<string, unknown>;
  }> {
    const path = this.file("config.yaml");
    try {
      const { run, ...config } = parse(await Deno.readTextFile(path)) as Record<
        string,
        unknown
      >;
      return { config, run: (run ?? {}) as Record<string, unknown> };
    } catch (error) {
      throw new Error(`Cannot read ${path}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /**
   * Appends a line to `metrics.jsonl`.
   *
   * @param line Its keys in order; numbers that JSON lacks (NaN, ∞) become null.
   */
  async appendMetrics(line: MetricsLine): Promise<void> {
    const path = this.file("metrics.jsonl");
    try {
      await Deno.writeTextFile(path, `${JSON.stringify(line)}\n`, {
        append: true,
      });
    } catch (error) {
      throw new Error(`Cannot append to ${path}: ${reason(error)}`, {
        cause: error,
      });
    }
  }

  /**
   * Reads `metrics.jsonl`.
   *
   * @returns Its lines; a last one cut off by a kill is left out, no file is no lines.
   */
  async readMetrics(): Promise<MetricsLine[]> {
    return (await this.#metricsText()).map((text) => JSON.parse(text));
  }

  /**
   * Cuts lines after `step` off `metrics.jsonl`, and a torn last line, so that
   * a run continued from there logs what an uninterrupted one would have.
   *
   * @param step That of the checkpoint.
   */
  async truncateMetrics(step: number): Promise<void> {
    const lines = await this.#metricsText();
    const kept = lines.filter((text) =>
      (JSON.parse(text) as MetricsLine).step <= step
    );
    await writeAtomic(
      this.file("metrics.jsonl"),
      kept.map((text) => `${text}\n`).join(""),
    );
  }

  /**
   * Writes a checkpoint, then points `latest` at it, then removes old ones.
   *
   * @param step Optimizer steps done.
   * @param data A complete safetensors file, in one or several pieces.
   * @param keep How many checkpoints to keep; the latest always stays.
   * @returns The file written.
   */
  async saveCheckpoint(
    step: number,
    data: Uint8Array | readonly Uint8Array[],
    keep = Infinity,
  ): Promise<CheckpointFile> {
    const checkpoint = this.#checkpoint(step);
    await writeAtomic(checkpoint.path, data);
    await writeAtomic(
      this.file("checkpoints", "latest"),
      `${checkpoint.name}\n`,
    );
    await this.pruneCheckpoints(keep);
    return checkpoint;
  }

  /** All checkpoints by name, the earliest step first; none is checked. */
  async listCheckpoints(): Promise<CheckpointFile[]> {
    const found: CheckpointFile[] = [];
    try {
      for await (const entry of Deno.readDir(this.file("checkpoints"))) {
        const step = checkpointStep(entry.name);
        if (entry.isFile && step !== undefined) {
          found.push(this.#checkpoint(step));
        }
      }
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
    return found.sort((a, b) => a.step - b.step);
  }

  /**
   * Removes all but the last checkpoints; never the one that `latest` names.
   *
   * @param keep How many to keep, at least 1.
   * @returns The names removed.
   */
  async pruneCheckpoints(keep: number): Promise<string[]> {
    const checkpoints = await this.listCheckpoints();
    const latest = await this.#latestName();
    const old = checkpoints.slice(0, Math.max(0, checkpoints.length - keep))
      .filter(({ name }) => name !== latest);
    for (const { path } of old) await Deno.remove(path);
    return old.map(({ name }) => name);
  }

  /**
   * The checkpoint to continue from: the one that `latest` names, or else the
   * one of the highest step, that is a complete file.
   *
   * @param warn Told of every file that is skipped, and why.
   * @returns Undefined if there is none.
   */
  async latestCheckpoint(
    warn: (message: string) => void = console.error,
  ): Promise<CheckpointFile | undefined> {
    const checkpoints = (await this.listCheckpoints()).reverse();
    const latest = await this.#latestName();
    if (latest !== undefined) {
      const named = checkpoints.findIndex(({ name }) => name === latest);
      if (named > 0) checkpoints.unshift(...checkpoints.splice(named, 1));
      if (named < 0) {
        warn(
          `${
            this.file("checkpoints", "latest")
          } names "${latest}", which is not there: looking for others`,
        );
      }
    }
    for (const checkpoint of checkpoints) {
      const flaw = await safetensorsFlaw(checkpoint.path);
      if (flaw === undefined) return checkpoint;
      warn(`Skipping ${checkpoint.path}: ${flaw}`);
    }
  }

  /** Where the samples of a step go. */
  samplesPath(step: number): string {
    return this.file("samples", `step-${step}.png`);
  }

  /**
   * Writes `summary.json`, indented.
   *
   * @param summary Parameters, times, last losses, adapter.
   */
  writeSummary(summary: Readonly<Record<string, unknown>>): Promise<void> {
    return writeAtomic(
      this.file("summary.json"),
      `${JSON.stringify(summary, null, 2)}\n`,
    );
  }

  #checkpoint(step: number): CheckpointFile {
    const name = `step-${step}.safetensors`;
    return { step, name, path: this.file("checkpoints", name) };
  }

  async #latestName(): Promise<string | undefined> {
    try {
      const text = await Deno.readTextFile(this.file("checkpoints", "latest"));
      return text.trim();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** Complete lines; the last one, without its line break, is torn. */
  async #metricsText(): Promise<string[]> {
    try {
      const text = await Deno.readTextFile(this.file("metrics.jsonl"));
      return text.split("\n").slice(0, -1).filter((line) => line !== "");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  async #holdsRun(): Promise<boolean> {
    for (const name of ["config.yaml", "metrics.jsonl"]) {
      if (await exists(this.file(name))) return true;
    }
    return (await this.listCheckpoints()).length > 0;
  }

  async #makeFolders(attempt: string): Promise<void> {
    try {
      for (const folder of ["checkpoints", "samples"]) {
        await Deno.mkdir(this.file(folder), { recursive: true });
      }
      const probe = this.file(`.probe.${crypto.randomUUID().slice(0, 8)}.tmp`);
      await Deno.writeTextFile(probe, "");
      await Deno.remove(probe);
    } catch (error) {
      throw this.#unusable(attempt, error);
    }
  }

  #unusable(attempt: string, error: unknown): UsageError {
    return new UsageError(
      `${attempt} ${this.path}: ${reason(error)}. Choose another with --out`,
      { cause: error },
    );
  }
}

/** `step-500.safetensors` → 500 */
function checkpointStep(name: string): number | undefined {
  const match = name.match(/^step-(\d+)\.safetensors$/);
  return match ? Number(match[1]) : undefined;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}

/**
 * What keeps a safetensors file from being whole: an 8-byte length, a JSON
 * header of that length, then exactly the bytes that its tensors claim.
 */
async function safetensorsFlaw(path: string): Promise<string | undefined> {
  try {
    using file = await Deno.open(path);
    const { size } = await file.stat();
    const head = await readExactly(file, 8);
    if (head === undefined) return `it is cut off at ${size} bytes`;
    const headerBytes = Number(new DataView(head.buffer).getBigUint64(0, true));
    if (headerBytes > size - 8) {
      return `it is cut off at ${size} bytes, or no safetensors file`;
    }
    const header = JSON.parse(
      new TextDecoder().decode(await readExactly(file, headerBytes)),
    ) as Record<string, { data_offsets?: [number, number] }>;
    const dataBytes = Math.max(
      0,
      ...Object.entries(header).map(([name, { data_offsets }]) =>
        name === "__metadata__" ? 0 : data_offsets?.[1] ?? 0
      ),
    );
    const wanted = 8 + headerBytes + dataBytes;
    if (size !== wanted) return `it has ${size} bytes instead of ${wanted}`;
  } catch (error) {
    return error instanceof SyntaxError
      ? "its header does not parse"
      : reason(error);
  }
}

async function readExactly(
  file: Deno.FsFile,
  length: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const read = await file.read(bytes.subarray(filled));
    if (read === null) return undefined;
    filled += read;
  }
  return bytes;
}
