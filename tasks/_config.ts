/**
 * Configuration from YAML presets, a YAML file, `--set` and flags, checked
 * against one schema. The only module that names the validation package.
 *
 * @module
 */
import { z } from "npm:zod@4.6.7";
import { nearest } from "../tensor/nearest.ts";
import { kebab, unknownValue, UsageError } from "./_cli.ts";
import { parse } from "./_yaml.ts";

export { z };

/** Where presets live. */
const PRESETS = new URL("./presets/", import.meta.url);

/** Key of a run's `config.yaml` that describes the run; not configuration. */
const RUN_KEY = "run";

type Mapping = Record<string, unknown>;

/** Keys of which only one counts: setting one drops the others set before. */
export type Exclusive = readonly (readonly string[])[];

/** The sources of a configuration, from the weakest to the strongest. */
export interface ConfigSources<S extends z.ZodObject> {
  readonly schema: S;
  /** Name of a file in `tasks/presets/`, without `.yaml`. */
  readonly preset?: string;
  /** Beginning of the names that `preset` may have, such as `ddpm-`. */
  readonly presetPrefix?: string;
  /** An absolute path, from `--config`. */
  readonly configFile?: string;
  /** Texts such as `unet.channels=64`, from `--set`; the value is YAML. */
  readonly sets?: readonly string[];
  /** Dotted key to value, from flags of the same name; undefined is not set. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Top-level keys or sections that exclude each other, such as `[["steps", "epochs"]]`. */
  readonly exclusive?: Exclusive;
}

/**
 * Merges the sources, preset < file < `--set` < flags, and checks the result.
 * Mappings merge key by key; lists and scalars replace.
 *
 * @param sources Any subset of the sources; the schema's defaults are below all.
 * @returns The configuration, complete and typed.
 * @throws {UsageError} Naming the source and key, what is wrong, what is
 *   allowed, and the nearest key if one is unknown.
 */
export async function resolveConfig<S extends z.ZodObject>(
  sources: ConfigSources<S>,
): Promise<z.output<S>> {
  const { schema, preset, configFile, sets = [], flags = {} } = sources;
  const merge = new Merge(sources.exclusive ?? []);
  if (preset !== undefined) {
    merge.add(
      await readPreset(preset, sources.presetPrefix),
      `preset ${preset}`,
    );
  }
  if (configFile !== undefined) {
    merge.add(await readConfigFile(configFile), configFile);
  }
  const setLayer: Layer = new Map();
  for (const text of sets) {
    const { path, value } = parseSet(text);
    setLayer.set(path.join("."), { path, value, source: `--set ${text}` });
  }
  for (const [key, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const path = key.split(".");
    setLayer.set(key, { path, value, source: `--${kebab(path.at(-1)!)}` });
  }
  merge.addLayer(setLayer);
  return check(schema, merge);
}

/**
 * Checks a configuration that was resolved before, such as that of a run.
 *
 * @param schema As for `resolveConfig`.
 * @param value A parsed `config.yaml`; its key `run` is skipped.
 * @param source Name of the file, for messages.
 * @returns The configuration, complete and typed.
 * @throws {UsageError} As `resolveConfig`.
 */
export function checkConfig<S extends z.ZodObject>(
  schema: S,
  value: unknown,
  source: string,
): z.output<S> {
  const merge = new Merge([]);
  merge.add(asMapping(value, source), source);
  return check(schema, merge);
}

/**
 * The names of the presets, sorted.
 *
 * @param prefix Beginning of the names, such as `ddpm-`. Default: all.
 */
export async function listPresets(prefix = ""): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(PRESETS)) {
    if (name.endsWith(".yaml") && name.startsWith(prefix)) {
      names.push(name.slice(0, -".yaml".length));
    }
  }
  return names.sort();
}

async function readPreset(name: string, prefix = ""): Promise<Mapping> {
  const names = await listPresets(prefix);
  if (!names.includes(name)) {
    // `--preset mnist` for `ddpm-mnist` is a likely slip too.
    const full = names.find((known) => known === prefix + name);
    throw new UsageError(
      full === undefined
        ? unknownValue("preset", name, names)
        : `Unknown preset "${name}": did you mean "${full}"? Allowed: ${
          names.join(", ")
        }`,
    );
  }
  const text = await Deno.readTextFile(new URL(`${name}.yaml`, PRESETS));
  return parseMapping(text, `preset ${name}`);
}

async function readConfigFile(path: string): Promise<Mapping> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw new UsageError(
      `Cannot read configuration ${path}: ${reason(error)}`,
      { cause: error },
    );
  }
  return parseMapping(text, path);
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.IsADirectory) return "it is a folder";
  return (error as Error).message;
}

function parseMapping(text: string, source: string): Mapping {
  try {
    return asMapping(parse(text), source);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(`Cannot parse ${source} as YAML: ${error.message}`, {
      cause: error,
    });
  }
}

function asMapping(value: unknown, source: string): Mapping {
  if (value === undefined || value === null) return {};
  if (!isMapping(value)) {
    throw new UsageError(
      `Cannot use ${source} as a configuration is a mapping of keys to values: it holds ${
        show(value)
      }`,
    );
  }
  const { [RUN_KEY]: _, ...config } = value;
  return config;
}

function parseSet(text: string): { path: string[]; value: unknown } {
  const equals = text.indexOf("=");
  const path = text.slice(0, Math.max(0, equals)).split(".").map((key) =>
    key.trim()
  );
  if (equals < 1 || path.includes("")) {
    throw new UsageError(
      `--set needs a key and a value, such as unet.channels=64: given "${text}"`,
    );
  }
  const valueText = text.slice(equals + 1);
  try {
    return { path, value: parse(valueText) ?? null };
  } catch (error) {
    throw new UsageError(
      `Cannot parse the value of --set ${text} as YAML: ${
        (error as Error).message
      }`,
      { cause: error },
    );
  }
}

/** Dotted key to a value and what set it. */
type Layer = Map<string, { path: string[]; value: unknown; source: string }>;

/** A growing configuration that remembers which source set each key. */
class Merge {
  readonly config: Mapping = Object.create(null);
  readonly #sources = new Map<string, string>();
  readonly #exclusive: Exclusive;

  constructor(exclusive: Exclusive) {
    this.#exclusive = exclusive;
  }

  add(mapping: Mapping, source: string): void {
    const layer: Layer = new Map();
    for (const [key, value] of Object.entries(mapping)) {
      layer.set(key, { path: [key], value, source });
    }
    this.addLayer(layer);
  }

  addLayer(layer: Layer): void {
    for (const keys of this.#exclusive) {
      const entries = [...layer.values()];
      const set = keys.flatMap((key) =>
        entries.find(({ path }) => path[0] === key) ?? []
      );
      if (set.length > 1) {
        const named = set.map(({ path, source }) =>
          source.startsWith("--") ? source : `${path[0]} (${source})`
        );
        throw new UsageError(`Give only one of ${named.join(" and ")}`);
      }
      if (set.length === 0) continue;
      for (const key of keys) {
        if (key !== set[0]!.path[0]) delete this.config[key];
      }
    }
    for (const { path, value, source } of layer.values()) {
      this.#put(path, value, source);
    }
  }

  /** What set the key at `path`, or the nearest mapping around it. */
  sourceOf(path: readonly PropertyKey[]): string {
    for (let length = path.length; length > 0; length--) {
      const source = this.#sources.get(path.slice(0, length).join("."));
      if (source !== undefined) return source;
    }
    return "the configuration";
  }

  #put(path: readonly string[], value: unknown, source: string): void {
    let target = this.config;
    for (const key of path.slice(0, -1)) {
      const inner = target[key];
      target = isMapping(inner)
        ? inner
        : target[key] = Object.create(null) as Mapping;
    }
    const key = path.at(-1)!;
    if (isMapping(value)) {
      if (!isMapping(target[key])) target[key] = Object.create(null);
      for (const [inner, innerValue] of Object.entries(value)) {
        this.#put([...path, inner], innerValue, source);
      }
    } else {
      target[key] = value;
    }
    this.#sources.set(path.join("."), source);
  }
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function check<S extends z.ZodObject>(schema: S, merge: Merge): z.output<S> {
  const result = schema.safeParse(merge.config);
  if (result.success) return result.data;
  // Refinements of several keys mean little while a single key is wrong.
  const { issues } = result.error;
  const single = issues.filter((issue) => issue.code !== "custom");
  const messages = (single.length > 0 ? single : issues).flatMap((issue) =>
    describeIssue(issue, schema, merge)
  );
  throw new UsageError([...new Set(messages)].join("\n"));
}

type Issue = z.core.$ZodIssue;

/** One message per problem: the key, its source, what is allowed, what is there. */
function describeIssue(
  issue: Issue,
  schema: z.ZodObject,
  merge: Merge,
): string[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const guess = nearestKey(schema, issue.path, key);
      const hint = guess === undefined ? "" : `: did you mean "${guess}"?`;
      return `Unknown key "${path.join(".")}" in ${
        merge.sourceOf(path)
      }${hint}`;
    });
  }
  const key = issue.path.join(".");
  const value = valueAt(merge.config, issue.path);
  if (value === undefined && issue.code === "invalid_type") {
    return [
      `Missing key "${key}": set it in a file for --config, or by --set ${key}=…`,
    ];
  }
  const source = merge.sourceOf(issue.path);
  const found = source.startsWith("--")
    ? source
    : `${show(value)} in ${source}`;
  const text = unionText(
    issue.code === "invalid_union" ? issue.errors.flat() : [issue],
  );
  const guess = issue.code === "invalid_value" && typeof value === "string"
    ? nearest(value, issue.values.map(String))
    : undefined;
  const hint = guess === undefined ? "" : `: did you mean "${guess}"?`;
  return [`${key} must be ${text}: given ${found}${hint}`];
}

function requirement(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPE_TEXT[issue.expected] ?? `of type ${issue.expected}`;
    case "too_small":
      return `${sizeOf(issue.origin)}${
        issue.inclusive ? "at least" : "greater than"
      } ${issue.minimum}`;
    case "too_big":
      return `${sizeOf(issue.origin)}${
        issue.inclusive ? "at most" : "less than"
      } ${issue.maximum}`;
    default:
      return issue.message; // of a refinement, written to follow "must be"
  }
}

const TYPE_TEXT: Record<string, string | undefined> = {
  int: "a whole number",
  number: "a number",
  string: "a text",
  array: "a list, such as [1, 2]",
  tuple: "a list, such as [0.9, 0.999]",
  object: "a mapping of keys to values",
};

function sizeOf(origin: string): string {
  return origin === "array" ? "a list whose length is " : "";
}

/** `auto, true or false` */
function unionText(issues: readonly Issue[]): string {
  const texts = issues.flatMap((issue) => {
    if (issue.code === "invalid_value") return issue.values.map(String);
    const isSwitch = issue.code === "invalid_type" &&
      issue.expected === "boolean";
    return isSwitch ? ["true", "false"] : [requirement(issue)];
  });
  if (texts.length === 1) return texts[0]!;
  return `${texts.slice(0, -1).join(", ")} or ${texts.at(-1)}`;
}

function valueAt(config: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Mapping | undefined | null)?.[key as string],
    config,
  );
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}

/**
 * The key that an unknown one most likely means: the same name elsewhere in
 * the schema, initials (`lr`), or a near spelling beside it, then anywhere.
 */
function nearestKey(
  schema: z.ZodObject,
  parent: readonly PropertyKey[],
  key: string,
): string | undefined {
  const prefix = parent.map((part) => `${String(part)}.`).join("");
  const all = keyPaths(schema);
  const name = (path: string) => path.slice(path.lastIndexOf(".") + 1);
  const beside = all.filter((path) =>
    path.startsWith(prefix) && !path.slice(prefix.length).includes(".")
  );
  const camel = key.replace(
    /[-_]+([a-z])/g,
    (_, letter) => letter.toUpperCase(),
  );
  const same = (path: string) => name(path) === camel;
  const initials = (path: string) =>
    key.length > 1 &&
    name(path).replace(/(?<!^)[a-z0-9]/g, "").toLowerCase() === key;
  const exact = beside.find(same) ?? all.find(same) ?? all.find(initials);
  if (exact !== undefined) return exact;
  const near = nearest(key, beside.map(name));
  if (near !== undefined) return prefix + near;
  const anywhere = nearest(key, all.map(name));
  return all.find((path) => name(path) === anywhere);
}

/** All dotted keys of a schema. */
function keyPaths(schema: z.ZodObject, prefix = ""): string[] {
  return Object.entries(schema.shape).flatMap(([key, inner]) => {
    const object = unwrap(inner as z.ZodType);
    const path = prefix + key;
    return object instanceof z.ZodObject
      ? [path, ...keyPaths(object, `${path}.`)]
      : [path];
  });
}

/** The schema inside `.optional()`, `.default()` and `.prefault()`. */
function unwrap(schema: z.ZodType): z.ZodType {
  const { innerType } = schema.def as { innerType?: z.ZodType };
  return innerType === undefined ? schema : unwrap(innerType);
}
