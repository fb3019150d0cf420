/**
 * The frame around every task: a typed table of flags, help, usage errors with
 * suggestions, exit codes and Ctrl-C. The only module that names the argument
 * parser.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted twice.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { nearest } from "../tensor/nearest.ts";
import { resolve } from "./_path.ts";
import { formatTable, terminalWidth, wrap } from "./_text.ts";

/** The command line, or a file it names, asks for something that is not there. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

interface FlagBase {
  /** One sentence for `--help`, without the default. */
  readonly description: string;
  /** Name of the value in `--help`, such as `FILE`. */
  readonly placeholder?: string;
}

/** Text, one of `choices` if given. `--resume [DIR]` is `optionalValue`: "" without DIR. */
export interface StringFlag extends FlagBase {
  readonly type: "string";
  readonly choices?: readonly string[];
  readonly optionalValue?: boolean;
  readonly default?: string;
}

/** A finite number, or a whole one, from `min` to `max` inclusive. */
export interface NumberFlag extends FlagBase {
  readonly type: "number" | "integer";
  readonly min?: number;
  readonly max?: number;
  readonly default?: number;
}

/** `--name`, `--no-name` or `--name=false`. */
export interface BooleanFlag extends FlagBase {
  readonly type: "boolean";
  readonly default?: boolean;
}

/** Given repeatedly or separated by commas; `split: false` keeps commas. */
export interface ListFlag extends FlagBase {
  readonly type: "list";
  readonly choices?: readonly string[];
  readonly split?: boolean;
  readonly default?: readonly string[];
}

/** One row of a task's flag table. */
export type Flag = StringFlag | NumberFlag | BooleanFlag | ListFlag;

/** A flag table; `batchSize` in the table is `--batch-size` on the command line. */
export type Flags = Readonly<Record<string, Flag>>;

type Value<F extends Flag> = F extends { type: "boolean" } ? boolean
  : F extends { type: "number" | "integer" } ? number
  : F extends { choices: readonly (infer C extends string)[] }
    ? (F extends { type: "list" } ? C[] : C)
  : F extends { type: "list" } ? string[]
  : string;

/** The values of a flag table; a flag without default is undefined unless given. */
export type FlagValues<F extends Flags> = {
  [K in keyof F]: F[K] extends { default: unknown } ? Value<F[K]>
    : Value<F[K]> | undefined;
};

/** An argument without dashes. */
export interface Positional {
  /** Name in `--help` and messages, such as `model`. */
  readonly name: string;
  readonly description: string;
  readonly choices?: readonly string[];
  /** May be left out; all after an optional one are optional too. */
  readonly optional?: boolean;
  /** The last one may take any number of arguments, at least one unless optional. */
  readonly repeated?: boolean;
}

/** What a task accepts. */
export interface Command<F extends Flags = Flags> {
  /** As in `deno task <name>`. */
  readonly name: string;
  /** One sentence. */
  readonly summary: string;
  readonly positionals?: readonly Positional[];
  readonly flags: F;
  /** Complete command lines, each optionally followed by `  # what it does`. */
  readonly examples: readonly string[];
  /** Further paragraphs at the end of the help. */
  readonly notes?: string;
}

/** A parsed command line. */
export interface Parsed<F extends Flags = Flags> {
  readonly flags: FlagValues<F>;
  /** The flags that stand on the command line, not those at their default. */
  readonly given: ReadonlySet<keyof F>;
  readonly positionals: readonly string[];
  /** `--json`: the result goes to standard output as JSON, for machines. */
  readonly json: boolean;
  /** `--help` */
  readonly help: boolean;
}

/**
 * Keeps the literal types of a flag table, from which the types of its values
 * follow.
 *
 * @param command The description of a task.
 * @returns The same object.
 */
export function defineCommand<const F extends Flags>(
  command: Command<F>,
): Command<F> {
  return command;
}

/**
 * Parses the arguments of a task. A leading `--`, which `deno task` passes on,
 * is skipped; the last of repeated flags counts; after a later `--` all
 * arguments are positional.
 *
 * @param command What the task accepts; `--json` and `--help` come with it.
 * @param args As in `Deno.args`.
 * @returns Checked values; with `--help`, nothing else is checked.
 * @throws {UsageError} Naming what was given, what is allowed, and the nearest name.
 */
export function parseCommand<F extends Flags>(
  command: Command<F>,
  args: readonly string[],
): Parsed<F> {
  const table: Flags = { ...command.flags, ...COMMON_FLAGS };
  const keys = new Map(Object.keys(table).map((key) => [kebab(key), key]));
  const { tokens } = parseArgs({
    args: markMissing(args[0] === "--" ? args.slice(1) : args, table),
    options: Object.fromEntries(
      Object.entries(table).map(([key, { type }]) => [kebab(key), {
        type: type === "boolean" ? "boolean" as const : "string" as const,
        multiple: true,
        ...(key === "help" ? { short: "h" } : {}),
      }]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const values: Record<string, unknown> = {};
  const given = new Set<string>();
  const help = tokens.some((token) =>
    token.kind === "option" && token.name === "help"
  );
  for (const token of tokens) {
    if (help || token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      positionals.push(token.value);
      continue;
    }
    const negated = token.name.startsWith("no-") && !keys.has(token.name);
    const name = negated ? token.name.slice(3) : token.name;
    const key = keys.get(name);
    const flag = key === undefined ? undefined : table[key]!;
    if (flag === undefined || negated && flag.type !== "boolean") {
      throw unknownFlag(token.rawName, [...keys.keys()], command);
    }
    const value = flag.type === "boolean"
      ? parseBoolean(token.rawName, token.value) !== negated
      : parseValue(`--${name}`, flag, token.value);
    values[key!] = flag.type === "list" && given.has(key!)
      ? [...values[key!] as string[], ...value as string[]]
      : value;
    given.add(key!);
  }
  for (const [key, flag] of Object.entries(table)) {
    if (!given.has(key) && flag.default !== undefined) {
      values[key] = flag.default;
    }
  }
  if (!help) checkPositionals(command, positionals);
  const { json, ...flags } = values;
  return {
    flags: flags as FlagValues<F>,
    given,
    positionals,
    json: json === true,
    help,
  };
}

const COMMON_FLAGS = {
  json: {
    type: "boolean",
    description: "Print the result as JSON on standard output, for machines",
  },
  help: { type: "boolean", description: "Print this help" },
} as const satisfies Flags;

/** Turns a value flag that lacks its value into `--flag=`, told apart later. */
function markMissing(args: readonly string[], table: Flags): string[] {
  const takesValue = new Map(
    Object.entries(table).filter(([, flag]) => flag.type !== "boolean")
      .map(([key, flag]) => [`--${kebab(key)}`, flag]),
  );
  const end = args.indexOf("--");
  return args.map((arg, i) => {
    if (!takesValue.has(arg) || end !== -1 && i > end) return arg;
    const next = args[i + 1];
    const isNumber = next !== undefined && /^-\.?\d/.test(next);
    const missing = next === undefined || next.startsWith("-") && !isNumber;
    return missing ? `${arg}=` : arg;
  });
}

function parseBoolean(rawName: string, value: string | undefined): boolean {
  if (value === undefined || value === "true") return true;
  if (value === "false") return false;
  throw new UsageError(
    `${rawName} is a switch, alone or =true or =false: given "${value}"`,
  );
}

function parseValue(
  name: string,
  flag: StringFlag | NumberFlag | ListFlag,
  text: string | undefined,
): unknown {
  if (text === undefined || text === "") {
    if (flag.type === "string" && flag.optionalValue) return "";
    throw new UsageError(
      `${name} needs a value: ${name} ${placeholder(flag)}${allowed(flag)}`,
    );
  }
  switch (flag.type) {
    case "string":
      return checkChoice(name, text, flag.choices);
    case "list": {
      const items = flag.split === false ? [text] : text.split(",");
      return items.map((item) => checkChoice(name, item.trim(), flag.choices));
    }
    default: {
      const isDecimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
      const value = isDecimal ? Number(text) : NaN;
      const { min = -Infinity, max = Infinity } = flag;
      const inRange = value >= min && value <= max && Number.isFinite(value);
      if (!inRange || flag.type === "integer" && !Number.isSafeInteger(value)) {
        throw new UsageError(`${name} must be ${range(flag)}: given "${text}"`);
      }
      return value;
    }
  }
}

function checkChoice(
  name: string,
  text: string,
  choices: readonly string[] | undefined,
): string {
  if (choices === undefined || choices.includes(text)) return text;
  throw new UsageError(unknownValue(name, text, choices));
}

/**
 * The message for a value that is not among the allowed ones.
 *
 * @param what What the value stands for, such as `--sampler` or `model`.
 * @param text The value given.
 * @param choices The values allowed.
 * @returns `Unknown model "dppm": did you mean "ddpm"? Allowed: ddpm, vae`.
 */
export function unknownValue(
  what: string,
  text: string,
  choices: readonly string[],
): string {
  const guess = nearest(text.toLowerCase(), choices);
  const hint = guess === undefined ? "" : `: did you mean "${guess}"?`;
  const end = guess === undefined ? ". " : " ";
  return `Unknown ${what} "${text}"${hint}${end}Allowed: ${choices.join(", ")}`;
}

function unknownFlag(
  rawName: string,
  names: readonly string[],
  command: Command,
): UsageError {
  const written = kebab(rawName.replace(/^-+/, "")).replaceAll("_", "-");
  const guess = names.includes(written) ? written : nearest(written, names);
  const hint = guess === undefined ? "" : `: did you mean --${guess}?`;
  const end = guess === undefined ? ". " : " ";
  return new UsageError(
    `Unknown flag ${rawName}${hint}${end}All flags: ${commandName()} ${command.name} --help`,
  );
}

function checkPositionals(
  { name, positionals = [] }: Command,
  values: readonly string[],
): void {
  const last = positionals.at(-1);
  values.forEach((value, i) => {
    const positional = positionals[i] ?? (last?.repeated ? last : undefined);
    if (positional === undefined) {
      const takes = positionals.length === 0
        ? "no arguments"
        : `only ${positionals.map((p) => `<${p.name}>`).join(" ")}`;
      throw new UsageError(
        `Unexpected argument "${value}": ${name} takes ${takes}, and flags start with --`,
      );
    }
    const { choices } = positional;
    if (choices !== undefined && !choices.includes(value)) {
      throw new UsageError(unknownValue(positional.name, value, choices));
    }
  });
  const missing = positionals[values.length];
  if (missing !== undefined && !missing.optional) {
    const { choices } = missing;
    throw new UsageError(
      `Missing <${missing.name}>: ` +
        (choices ? `one of ${choices.join(", ")}` : missing.description),
    );
  }
}

/** `batchSize` → `batch-size`, as flags are written. */
export function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function placeholder(flag: Flag): string {
  if (flag.placeholder !== undefined) return flag.placeholder;
  switch (flag.type) {
    case "boolean":
      return "";
    case "number":
      return "X";
    case "integer":
      return "N";
    case "list":
      return flag.split === false ? "VALUE" : "NAME[,NAME…]";
    default:
      return "NAME";
  }
}

function allowed(flag: StringFlag | NumberFlag | ListFlag): string {
  if (flag.type === "string" || flag.type === "list") {
    return flag.choices ? `, one of ${flag.choices.join(", ")}` : "";
  }
  return `, ${range(flag)}`;
}

function range({ type, min, max }: NumberFlag): string {
  const kind = type === "integer" ? "a whole number" : "a number";
  if (min !== undefined && max !== undefined) {
    return `${kind} from ${min} to ${max}`;
  }
  if (min !== undefined) return `${kind} of at least ${min}`;
  if (max !== undefined) return `${kind} of at most ${max}`;
  return kind;
}

/**
 * The text of `--help`: summary, usage, arguments, flags, examples.
 *
 * @param command The description of a task.
 * @param width Columns to wrap at, defaults to no wrapping.
 * @returns The text, without a final line break.
 */
export function formatHelp(command: Command, width = Infinity): string {
  const { name, summary, positionals = [], flags, examples, notes } = command;
  const usage = positionals.map((p) => {
    const one = `<${p.name}>${p.repeated ? "…" : ""}`;
    return p.optional ? `[${one}]` : one;
  });
  const parts = [
    summary,
    `Usage: ${[commandName(), name, ...usage, "[flags]"].join(" ")}`,
  ];
  if (positionals.length > 0) {
    parts.push(
      section(
        "Arguments",
        positionals.map((p) => [
          `<${p.name}>`,
          p.description + (p.choices ? `: ${p.choices.join(", ")}` : ""),
        ]),
        width,
      ),
    );
  }
  const rows = Object.entries({ ...flags, ...COMMON_FLAGS }).map((
    [key, flag],
  ) => [flagUsage(key, flag), flagDescription(flag)]);
  parts.push(section("Flags", rows, width));
  parts.push(
    `Examples:\n${
      examples.map((line) => `  ${line.replace(/^deno task/, commandName())}`)
        .join("\n")
    }`,
  );
  if (notes !== undefined) parts.push(wrap(notes, width));
  return parts.join("\n\n");
}

function flagUsage(key: string, flag: Flag): string {
  const name = `--${kebab(key)}`;
  if (flag.type === "boolean") {
    return flag.default === true ? `--no-${kebab(key)}` : name;
  }
  const value = placeholder(flag);
  const optional = flag.type === "string" && flag.optionalValue;
  return `${name} ${optional ? `[${value}]` : value}`;
}

function flagDescription(flag: Flag): string {
  const choices = flag.type === "string" || flag.type === "list"
    ? flag.choices
    : undefined;
  const list = choices ? `: ${choices.join(", ")}` : "";
  const shown = flag.default === undefined || flag.type === "boolean"
    ? ""
    : ` (default: ${flag.default})`;
  return flag.description + list + shown;
}

/** Two columns; the second one wraps beside the first. */
function section(
  title: string,
  rows: readonly (readonly string[])[],
  width: number,
): string {
  const left = Math.max(...rows.map(([cell]) => cell!.length));
  const room = Math.max(20, width - left - 4);
  const lines = rows.flatMap(([first, second]) =>
    wrap(second!, room).split("\n").map((
      line,
      i,
    ) => [i === 0 ? first! : " ".repeat(left), line])
  );
  return `${title}:\n${formatTable(lines, { indent: 2 })}`;
}

/**
 * Runs a task: parses the command line, prints help, and turns what goes wrong
 * into one message on standard error and an exit code. `DENOISE_DEBUG=1` adds
 * the stack.
 *
 * @param command What the task accepts.
 * @param main The task itself; a number it returns is the exit code.
 * @param args Defaults to `Deno.args`.
 * @returns When the task is done; a failed task ends the process instead.
 */
export async function runTask<F extends Flags>(
  command: Command<F>,
  main: (parsed: Parsed<F>) => void | number | Promise<void | number>,
  args: readonly string[] = Deno.args,
): Promise<void> {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    fail(event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    fail(event.error);
  });
  try {
    const parsed = parseCommand(command, args);
    if (parsed.help) {
      console.log(formatHelp(command, terminalWidth("stdout")));
      return;
    }
    Deno.exitCode = await main(parsed) ?? 0;
  } catch (error) {
    fail(error);
  }
}

/**
 * Makes a usage error (exit code 2) of a `RangeError`, for values of the
 * command line that only the callee can check, such as the name of a class.
 *
 * @param action What to do.
 * @returns The result of `action`.
 * @throws {UsageError} With the message of the `RangeError`.
 */
export async function asUsage<T>(action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}

/**
 * Prints an error for people and ends the process: exit code 2 for a
 * `UsageError`, 1 for all others.
 *
 * @param error Anything thrown.
 */
export function fail(error: unknown): never {
  const message = error instanceof Error && error.message !== ""
    ? error.message
    : String(error);
  console.error(wrap(`error: ${message}`, terminalWidth("stderr")));
  if (readEnv("DENOISE_DEBUG") === "1" && error instanceof Error) {
    console.error(error.stack);
    if (error.cause !== undefined) console.error("Cause:", error.cause);
  }
  Deno.exit(error instanceof UsageError ? 2 : 1);
}

/**
 * An environment variable, or undefined where it is not set or this task may
 * not read it. Never asks for permission.
 *
 * @param name The variable.
 */
export function readEnv(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

/** How this task is called: through the launcher, or by Deno. */
export function commandName(): string {
  return readEnv("DENOISE_COMMAND") ?? "deno task";
}

/**
 * A path as the user means it: relative to where they stand, which is
 * `INIT_CWD` under `deno task`, as that changes to the project's folder.
 *
 * @param path From a flag or an argument.
 * @returns An absolute path.
 */
export function userPath(path: string): string {
  return resolve(readEnv("INIT_CWD") ?? Deno.cwd(), path);
}

/** Within this time a second signal is an echo of the first one. */
const ECHO_MS = 500;

/**
 * Calls back at the first Ctrl-C (SIGINT) or SIGTERM, so that the task can save
 * and stop; a second one ends the process at once with exit code 130. On a
 * terminal Ctrl-C reaches the task twice, directly and through `deno task`:
 * echoes within half a second are not counted.
 *
 * @param callback Sets a flag that the task's loop looks at.
 * @returns Restores the default behaviour when disposed: `using _ = onInterrupt(…)`.
 */
export function onInterrupt(callback: () => void): Disposable {
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM"];
  let firstMs: number | undefined;
  const listener = () => {
    const nowMs = performance.now();
    if (firstMs === undefined) {
      firstMs = nowMs;
      callback();
    } else if (nowMs - firstMs > ECHO_MS) {
      Deno.exit(130);
    }
  };
  for (const signal of signals) Deno.addSignalListener(signal, listener);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) Deno.removeSignalListener(signal, listener);
    },
  };
}
