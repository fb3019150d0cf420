import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import {
  defineCommand,
  formatHelp,
  parseCommand,
  UsageError,
} from "../../tasks/_cli.ts";
import { command } from "./_fixture_task.ts";

const parse = (line: string) =>
  parseCommand(command, line === "" ? [] : line.split(" "));

function usageError(line: string, pattern: RegExp): void {
  throws(() => parse(line), (error: unknown) => {
    ok(error instanceof UsageError);
    match(error.message, pattern);
    return true;
  });
}

Deno.test("parseCommand() types values, keeps defaults and tells what was given", () => {
  const parsed = parse(
    "ddpm --steps 1e3 --eta=0.5 --class cat,dog --class frog --set a=[1,2] --set b=3 --no-conditional",
  );
  deepEqual({ ...parsed.flags }, {
    steps: 1000,
    eta: 0.5,
    class: ["cat", "dog", "frog"],
    set: ["a=[1,2]", "b=3"],
    conditional: false,
    sampler: "ddpm",
  });
  deepEqual(parsed.positionals, ["ddpm"]);
  ok(parsed.given.has("steps") && !parsed.given.has("sampler"));
  equal(parsed.json, false);
  const sampler: "ddpm" | "ddim" = parsed.flags.sampler; // types follow the table
  const batchSize: number | undefined = parsed.flags.batchSize;
  deepEqual([sampler, batchSize], ["ddpm", undefined]);
});

Deno.test("parseCommand() skips a leading -- and takes the last of repeated flags", () => {
  equal(parse("-- ddpm --steps 3 --steps 4").flags.steps, 4);
  equal(parse("ddpm --json").json, true);
  equal(parse("ddpm -h").help, true);
  equal(parse("nonsense --nonsense --help").help, true);
});

Deno.test("parseCommand() takes an optional value, or none", () => {
  equal(parse("ddpm --resume").flags.resume, "");
  equal(parse("ddpm --resume --steps 3").flags.resume, "");
  equal(parse("ddpm --resume runs/a").flags.resume, "runs/a");
});

Deno.test("parseCommand() suggests the flag that was meant", () => {
  usageError("ddpm --stepz 3", /^Unknown flag --stepz: did you mean --steps\?/);
  usageError("ddpm --batchSize 3", /did you mean --batch-size\?/);
  usageError("ddpm --batch_size=3", /did you mean --batch-size\?/);
  usageError("ddpm --no-steps", /^Unknown flag --no-steps/);
  usageError("ddpm --zzzzzz", /^Unknown flag --zzzzzz\. .*fixture --help/);
  usageError("ddpm -x", /^Unknown flag -x/);
});

Deno.test("parseCommand() says what was given and what is allowed", () => {
  const steps = /^--steps must be a whole number of at least 1: given "/;
  for (const bad of ["2.5", "-1", "0", "abc", "1e99", "0x10", "Infinity"]) {
    usageError(`ddpm --steps ${bad}`, steps);
  }
  usageError("ddpm --eta 2", /^--eta must be a number from 0 to 1: given "2"/);
  usageError("ddpm --steps", /^--steps needs a value: --steps N, a whole/);
  usageError("ddpm --steps --json", /^--steps needs a value/);
  usageError("ddpm --sampler= --json", /needs a value.*one of ddpm, ddim/);
  usageError(
    "ddpm --sampler dpm",
    /^Unknown --sampler "dpm": did you mean "ddpm"\? Allowed: ddpm, ddim$/,
  );
  usageError("ddpm --conditional=maybe", /^--conditional is a switch/);
});

Deno.test("parseCommand() checks positionals", () => {
  usageError("dppm", /^Unknown model "dppm": did you mean "ddpm"\?/);
  usageError("", /^Missing <model>: one of ddpm, vae/);
  usageError("ddpm extra", /^Unexpected argument "extra".*only <model>/);
  const many = defineCommand({
    name: "many",
    summary: "Takes many",
    positionals: [{ name: "run", description: "A run", repeated: true }],
    flags: {},
    examples: [],
  });
  deepEqual(parseCommand(many, ["a", "b"]).positionals, ["a", "b"]);
  throws(() => parseCommand(many, []), /Missing <run>: A run/);
  throws(() => parseCommand({ ...many, positionals: [] }, ["a"]), UsageError);
});

Deno.test("formatHelp() lists every flag and wraps to the width", () => {
  const text = formatHelp(command, 60);
  for (const part of ["--batch-size N", "--resume [DIR]", "--set a.b=VALUE"]) {
    ok(text.includes(part), part);
  }
  match(text, /Usage: deno task fixture <model> \[flags\]/);
  match(text, /\(default: 10\)/);
  for (const line of text.split("\n")) ok(line.length <= 60, line);
});

const FIXTURE = new URL("./_fixture_task.ts", import.meta.url);

function start(args: string[], env: Record<string, string> = {}) {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-env=INIT_CWD,DENOISE_DEBUG",
      FIXTURE.href,
      ...args,
    ],
    env: { NO_COLOR: "1", DENOISE_DEBUG: "", ...env },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(args: string[], env?: Record<string, string>) {
  const { code, stdout, stderr } = await start(args, env).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("runTask() ends with the exit code that tells what went wrong", async () => {
  const [done, code, failed, usage, flag, rejected, help] = await Promise.all([
    run(["ddpm"]),
    run(["ddpm", "--how", "code"]),
    run(["ddpm", "--how", "throw"]),
    run(["ddpm", "--how", "usage"]),
    run(["ddpm", "--stepz", "3"]),
    run(["ddpm", "--how", "reject"]),
    run(["--help"]),
  ]);
  deepEqual(done, { code: 0, stdout: "", stderr: "" });
  equal(code.code, 3);
  deepEqual(failed, { code: 1, stdout: "", stderr: "error: Cannot go on\n" });
  deepEqual(usage, {
    code: 2,
    stdout: "",
    stderr: "error: Cannot want that\n",
  });
  equal(flag.code, 2);
  match(flag.stderr, /^error: Unknown flag --stepz: did you mean --steps\?/);
  equal(rejected.code, 1);
  equal(rejected.stderr, "error: Nobody listens\n");
  equal(help.code, 0);
  match(help.stdout, /^Does what its flags say\n/);
});

Deno.test("runTask() prints the stack if DENOISE_DEBUG is 1", async () => {
  const { stderr } = await run(["ddpm", "--how", "throw"], {
    DENOISE_DEBUG: "1",
  });
  match(stderr, /^error: Cannot go on\nError: Cannot go on\n +at /);
});

Deno.test("userPath() starts where the user stands", async () => {
  const { stdout } = await run(["ddpm", "--how", "path"], {
    INIT_CWD: "/somewhere/else",
  });
  equal(stdout, "/somewhere/else/runs/a\n");
});

Deno.test({
  name: "onInterrupt() lets the task save at the first signal",
  ignore: Deno.build.os === "windows",
  async fn() {
    const { code, output } = await interrupt([], [0]);
    deepEqual({ code, output }, { code: 0, output: "ready\nsaving\nsaved\n" });
  },
});

Deno.test({
  name: "onInterrupt() exits with 130 at the second signal, echoes aside",
  ignore: Deno.build.os === "windows",
  async fn() {
    // The second one comes at once, as through `deno task`, and is no wish.
    const { code, output } = await interrupt(["--conditional"], [0, 20, 700]);
    deepEqual({ code, output }, { code: 130, output: "ready\nsaving\n" });
  },
});

/** Starts the waiting task and sends SIGINT so long after it is ready. */
async function interrupt(args: string[], delaysMs: number[]) {
  const child = start(["ddpm", "--how", "wait", ...args]);
  let output = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (output === "") {
      for (const delayMs of delaysMs) {
        setTimeout(() => child.kill("SIGINT"), delayMs);
      }
    }
    output += text;
  }
  await child.stderr.cancel();
  const { code } = await child.status;
  return { code, output };
}
