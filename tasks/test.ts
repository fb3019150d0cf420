/**
 * `deno task test`: the static checks, then every test. See {@linkcode USAGE}.
 *
 * What `deno test` did is read from its JUnit report, written after the last test: without one, or
 * where its exit code and the report differ, something failed that is in no list, and counts as
 * failed. A crash after a complete report without failures is said, and does not count.
 */
import { isAbsolute, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { findChromium } from "../tests/tasks/_browser.ts";

const USAGE = `Usage: deno task test [options] [file or folder under tests/ …]

Checks formatting, lint, types and documentation, one test each, then runs the tests: all files
under tests/ whose names end in _test.ts, or those named, on the CPU, and those of tensors, ops, nn
and models on WebGPU too, where there is an adapter. DENOISE_DEVICE=cpu or =webgpu runs them there
only. The last line is "N passed, N failed".

Options:
  --filter TEXT  only tests whose name has TEXT in it, or matches it if it is like /regexp/
  --quick        no static checks
  --parallel     one test file per core at a time (DENO_JOBS sets how many)
  --verbose      also name the tests that pass, and how long each took
  --help         this text

Examples:
  deno task test
  deno task test --quick tests/kernels
  deno task test --quick --filter "conv2d()" tests/kernels/conv2d_test.ts`;

const root = resolve(import.meta.dirname!, "..");
/** Tests serve on localhost, start Deno, the launcher and a browser, and use sharp, which is native code. */
const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-ffi",
  "--allow-sys",
  "--allow-net=127.0.0.1,localhost,0.0.0.0",
  `--allow-run=${[Deno.execPath(), "deno", "sh", findChromium() ?? []].flat()}`,
];
/** Folders of tests whose outcome may depend on the device. */
const DEVICE_FOLDERS = ["kernels", "models", "nn", "tensor"];
/** Tests that open devices themselves, so that once is enough. */
const OPENS_DEVICES = /^tests\/tensor\/(cpu|device|executors)/;
const SLOW_SECONDS = 5; // tests that take longer are named at the end

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

/** The files below `path` (relative to the checkout) whose names end in `suffix`, sorted. */
function filesBelow(path: string, suffix: string): string[] {
  const info = statOrNull(join(root, path));
  if (info === null) return [];
  if (info.isFile) return path.endsWith(suffix) ? [path] : [];
  return Array.from(Deno.readDirSync(join(root, path)))
    .filter((entry) =>
      !entry.name.startsWith(".") && entry.name !== "node_modules"
    )
    .flatMap((entry) => filesBelow(`${path}/${entry.name}`, suffix))
    .sort();
}

function statOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Environment of all children: no OpenGL in place of Vulkan, no stack traces of Deno itself. */
function childEnv(): Record<string, string> {
  const env: Record<string, string> = {
    DENO_NO_UPDATE_CHECK: "1",
    RUST_BACKTRACE: "0",
  };
  if (Deno.build.os === "linux") {
    env.DENO_WEBGPU_BACKEND = Deno.env.get("DENO_WEBGPU_BACKEND") || "vulkan";
  }
  if (!Deno.stdout.isTerminal()) env.NO_COLOR = "1"; // Deno colours what it writes to a pipe
  return env;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

/** Runs one static check and prints its output if it fails. */
async function staticCheck(name: string, args: string[]): Promise<boolean> {
  const start = performance.now();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env: childEnv(),
    stdin: "null",
  }).output();
  if (!success) {
    await Deno.stdout.write(stdout);
    await Deno.stdout.write(stderr);
  }
  console.log(`${name} ... ${success ? "ok" : "FAILED"} (${seconds(start)})`);
  return success;
}

async function staticChecks(): Promise<Totals> {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const typed = ["mod.ts", "tasks", "tests", "bench"].flatMap((path) =>
    filesBelow(path, ".ts")
  );
  const checks: [name: string, args: string[]][] = [
    ["deno fmt --check", ["fmt", "--check"]],
    ["deno lint", ["lint"]],
    ["deno check", ["check", ...typed]],
    ["deno doc --lint mod.ts", ["doc", "--lint", "mod.ts"]],
  ];
  for (const [name, args] of checks) {
    totals[await staticCheck(name, args) ? "passed" : "failed"]++;
  }
  return totals;
}

/**
 * Copies the output of `deno test` without the lines of passed tests. What does not end in a line
 * is the name of the test that is running: when the process dies, it is printed too.
 */
class CompactReporter {
  readonly #decoder = new TextDecoder();
  #line = "";
  write(chunk: Uint8Array): void {
    const lines = (this.#line + this.#decoder.decode(chunk, { stream: true }))
      .split("\n");
    this.#line = lines.pop()!;
    for (const line of lines) if (!this.#isPassed(line)) console.log(line);
  }
  end(): void {
    if (this.#line !== "") console.log(this.#line);
  }
  #isPassed(line: string): boolean {
    // deno-lint-ignore no-control-regex
    return / \.\.\. ok \([^()]*\)$/.test(line.replace(/\x1b\[[0-9;]*m/g, ""));
  }
}

/** Totals and slow tests of a JUnit report; a step of a test is a test too. */
function readReport(xml: string): { totals: Totals; slow: string[] } {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const slow: string[] = [];
  // Names and messages hold no bare "<": they are escaped.
  for (const testCase of xml.split(/<testcase /).slice(1)) {
    if (/<(failure|error)[ />]/.test(testCase)) totals.failed++;
    else if (testCase.includes("<skipped")) totals.skipped++;
    else totals.passed++;
    const time = Number(/ time="([\d.]+)"/.exec(testCase)?.[1] ?? 0);
    if (time > SLOW_SECONDS) {
      slow.push(
        `${time.toFixed(1)} s  ${/name="([^"]*)"/.exec(testCase)?.[1]}`,
      );
    }
  }
  return { totals, slow };
}

/** Where the tests run: the files of each device. */
async function passes(files: string[]): Promise<[device: string, string[]][]> {
  const asked = Deno.env.get("DENOISE_DEVICE") || "auto";
  if (asked !== "auto") return [[asked, files]];
  const onDevice = files.filter((file) =>
    DEVICE_FOLDERS.some((folder) => file.startsWith(`tests/${folder}/`)) &&
    !OPENS_DEVICES.test(file)
  );
  const all: [string, string[]][] = [["cpu", files], ["webgpu", onDevice]];
  if (onDevice.length > 0 && !await hasAdapter()) {
    console.log("There is no adapter, so nothing is tested on WebGPU");
    all.pop();
  }
  return all.filter(([, files]) => files.length > 0);
}

/** Asked in a process of its own, as the environment says which drivers there are. */
async function hasAdapter(): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 1)"],
    env: childEnv(),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}

async function runTests(
  device: string,
  files: string[],
  options: { filter?: string; parallel: boolean; verbose: boolean },
): Promise<Totals> {
  const start = performance.now();
  const folder = await Deno.makeTempDir({ prefix: "denoise-test-" });
  try {
    const report = join(folder, "junit.xml");
    const args = [
      "test",
      "--no-check",
      "--no-prompt",
      ...PERMISSIONS,
      `--junit-path=${report}`,
    ];
    if (options.parallel) args.push("--parallel");
    if (options.filter !== undefined) args.push(`--filter=${options.filter}`);
    const child = new Deno.Command(Deno.execPath(), {
      args: [...args, ...files],
      cwd: root,
      env: { ...childEnv(), DENOISE_DEVICE: device },
      stdin: "null",
      stdout: options.verbose ? "inherit" : "piped",
    }).spawn();
    if (!options.verbose) {
      const reporter = new CompactReporter();
      for await (const chunk of child.stdout) reporter.write(chunk);
      reporter.end();
    }
    const { code, signal } = await child.status;
    const { totals, slow } = statOrNull(report) === null
      ? { totals: { passed: 0, failed: 0, skipped: 0 }, slow: [] }
      : readReport(await Deno.readTextFile(report));
    if (signal !== null && totals.failed === 0 && totals.passed > 0) {
      // The report is complete. Mesa's software driver is known to crash when a process ends
      // (github.com/llvm/llvm-project/issues/105547).
      console.log(`All tests done, deno test ended with ${signal}`);
    } else if (code !== 0 && totals.failed === 0) {
      totals.failed = 1;
      console.log(
        `deno test failed outside of any test: it ended with ${
          signal ?? `code ${code}`
        }`,
      );
    } else if (code === 0 && statOrNull(report) === null) {
      totals.failed = 1;
      console.log("deno test ended early: it wrote no report");
    }
    // Deno reports what a filter leaves out as skipped; that is no news.
    if (options.filter !== undefined) totals.skipped = 0;
    if (slow.length > 0) {
      console.log(`Slower than ${SLOW_SECONDS} s:\n  ${slow.join("\n  ")}`);
    }
    console.log(
      `deno test on ${device} ... ${totals.failed === 0 ? "ok" : "FAILED"} (${
        seconds(start)
      })`,
    );
    return totals;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The test files that the arguments, relative to the caller's folder, stand for. */
function selectFiles(paths: string[]): string[] {
  if (paths.length === 0) return filesBelow("tests", "_test.ts");
  const caller = Deno.env.get("INIT_CWD") ?? root;
  const files = paths.flatMap((path) => {
    const local = [resolve(caller, path), resolve(root, path)].find((p) =>
      statOrNull(p) !== null
    );
    if (local === undefined) {
      throw new RangeError(
        `Cannot find ${path}: to select tests by name, use --filter`,
      );
    }
    const inside = relative(root, local);
    const files = isAbsolute(inside) || !/^tests([\\/]|$)/.test(inside)
      ? []
      : filesBelow(inside, "_test.ts");
    if (files.length === 0) {
      throw new RangeError(
        `No tests in ${path}: they are in tests/, in files named *_test.ts`,
      );
    }
    return files;
  });
  return [...new Set(files)];
}

/** Runs the checks and tests that `args` ask for; returns the exit code. */
export async function main(args: string[]): Promise<number> {
  const start = performance.now();
  Deno.env.delete("DENOISE_COMMAND"); // tests call tasks by Deno, not by the launcher
  let files: string[];
  let flags;
  try {
    const parsed = parseArgs({
      args: args[0] === "--" ? args.slice(1) : args,
      allowPositionals: true,
      options: {
        filter: { type: "string" },
        quick: { type: "boolean", default: false },
        parallel: { type: "boolean", default: false },
        verbose: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    flags = parsed.values;
    if (flags.help) {
      console.log(USAGE);
      return 0;
    }
    files = selectFiles(parsed.positionals);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) {
      throw error;
    }
    console.error(`${error.message}\nSee deno task test --help`);
    return 2;
  }
  const checked = flags.quick
    ? { passed: 0, failed: 0, skipped: 0 }
    : await staticChecks();
  const tested = { passed: 0, failed: 0, skipped: 0 };
  for (const [device, there] of await passes(files)) {
    const { passed, failed, skipped } = await runTests(device, there, flags);
    tested.passed += passed;
    tested.failed += failed;
    tested.skipped += skipped;
  }
  const passed = checked.passed + tested.passed;
  const failed = checked.failed + tested.failed;
  const noneRan = tested.passed + tested.failed === 0;
  if (noneRan) console.log("No test ran");
  if (tested.skipped > 0) {
    console.log(
      `${tested.skipped} skipped, which are for other devices or systems`,
    );
  }
  console.log(`Total time ${seconds(start)}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || noneRan ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
