/** The launcher, in a folder of its own, among fakes of every command that it could find. */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";

const checkout = resolve(import.meta.dirname!, "..");
const sh = which("sh");
const ignore = Deno.build.os === "windows";

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function which(command: string): string {
  const found = (Deno.env.get("PATH") ?? "").split(":")
    .map((folder) => join(folder, command))
    .find(exists);
  if (found === undefined) throw new Error(`${command} is not on the PATH`);
  return found;
}

/** A `deno` that says its version, then which arguments and environment it got, and ends with 7. */
const fakeDeno = (version: string) =>
  `[ "$1" = --version ] && { echo "deno ${version} (stable, release, any)"; exit; }
  echo "ran ${version}"
  echo "INIT_CWD=$INIT_CWD BACKEND=\${DENO_WEBGPU_BACKEND:-} TRACE=\${RUST_BACKTRACE-none}"
  printf '<%s>' "$@"
  exit 7`;

/** An `npm` that installs \`deno\` 2.9.6 as the package does, and notes its call. */
const FAKE_NPM = `echo "npm $*" >>"$CALLS"
  while [ "$1" != --prefix ]; do shift; done
  mkdir -p "$2/node_modules/@deno/some-platform"
  cp "$FOLDER/npm-deno" "$2/node_modules/@deno/some-platform/deno"`;

/** An `apt-get` that makes the driver which \`VK_DRIVER_FILES\` names, and notes its call. */
const FAKE_APT = `echo "apt-get $*" >>"$CALLS"
  case " $* " in *" install "*) echo {} >"$VK_DRIVER_FILES" ;; esac`;

/** What the launcher takes from the system as it is. */
const TOOLS =
  "cat chmod cp cut dirname find grep head mkdir mktemp mv readlink rm sed sh tail tr"
    .split(" ");

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
  /** What the fake npm and package managers were called with. */
  calls: string;
}

class Sandbox implements Disposable {
  readonly folder = Deno.realPathSync(
    Deno.makeTempDirSync({ prefix: "denoise-launcher-" }),
  );
  readonly root = join(this.folder, "check out");
  readonly driver = join(this.folder, "icd.json");
  #env: Record<string, string> = {
    PATH: join(this.folder, "bin"),
    HOME: join(this.folder, "home"),
    TMPDIR: join(this.folder, "tmp"),
    FOLDER: this.folder,
    CALLS: join(this.folder, "calls"),
    VK_DRIVER_FILES: this.driver,
    RUST_BACKTRACE: "1",
  };

  /** Linux with a Vulkan driver, no root, and none of Deno, npm and package managers. */
  constructor(fakes: Record<string, string> = {}) {
    for (const name of ["bin", "home", "tmp", "check out"]) {
      Deno.mkdirSync(join(this.folder, name));
    }
    for (const tool of TOOLS) {
      Deno.symlinkSync(which(tool), join(this.folder, "bin", tool));
    }
    Deno.copyFileSync(join(checkout, "denoise"), join(this.root, "denoise"));
    Deno.writeTextFileSync(
      join(this.root, "deno.json"),
      '{\n  "imports": {\n    "other": "./x.ts"\n  },\n  "tasks": {\n' +
        '    "train": "x",\n    "datasets": "x",\n    "doctor": "x",\n' +
        '    "bench": "x",\n    "test": "x",\n    "help": "x",\n    "test:data": "x"\n  }\n}\n',
    );
    Deno.writeTextFileSync(this.driver, "{}");
    this.script(join(this.folder, "npm-deno"), fakeDeno("2.9.6"));
    const defaults = {
      id: "echo 1000",
      uname: "echo Linux",
      getent: "exit 2",
      ldconfig: "echo '\tlibvulkan.so.1 (libc6) => any'",
    };
    for (const [name, body] of Object.entries({ ...defaults, ...fakes })) {
      this.script(join(this.folder, "bin", name), body);
    }
  }

  script(path: string, body: string): void {
    // `createNew` follows no link: a fake must never be written over the tool it stands for.
    Deno.writeTextFileSync(path, `#!${sh}\n${body}\n`, { createNew: true });
    Deno.chmodSync(path, 0o755);
  }

  async run(
    args: string[],
    env: Record<string, string | undefined> = {},
    launcher = join(this.root, "denoise"),
  ): Promise<Outcome> {
    const merged = Object.entries({ ...this.#env, ...env }).filter(([, v]) =>
      v !== undefined
    );
    const { code, stdout, stderr } = await new Deno.Command(sh, {
      args: [launcher, ...args],
      cwd: join(this.folder, "home"),
      env: Object.fromEntries(merged) as Record<string, string>,
      clearEnv: true,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    let calls = "";
    try {
      calls = Deno.readTextFileSync(this.#env.CALLS!);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return {
      code,
      stdout: decoder.decode(stdout),
      stderr: decoder.decode(stderr),
      calls,
    };
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `denoise ${name}`, ignore, fn });
}

for (const script of ["denoise", ".ci/run"]) {
  test(`is a shell script that parses: ${script}`, async () => {
    const { code, stderr } = await new Deno.Command(sh, {
      args: ["-n", join(checkout, script)],
    }).output();
    assert.equal(new TextDecoder().decode(stderr), "");
    assert.equal(code, 0);
    const { mode } = await Deno.stat(join(checkout, script));
    assert.equal(mode! & 0o111, 0o111, "must be executable");
  });
}

test("passes arguments literally, and the exit code", async () => {
  using box = new Sandbox({ deno: fakeDeno("2.9.0") });
  const args = [
    "train",
    "a b",
    "$HOME `id` \\n",
    `it's "so"`,
    "*",
    "",
    "--",
    "-q",
    "x\ny",
  ];
  const { code, stdout, stderr } = await box.run(args);
  assert.equal(stderr, "");
  const [ran, , ...rest] = stdout.split("\n");
  assert.equal(ran, "ran 2.9.0");
  const expected = ["task", "-q", "--cwd", box.root, ...args];
  assert.equal(rest.join("\n"), expected.map((arg) => `<${arg}>`).join(""));
  assert.equal(code, 7);
});

test("finds its checkout through links, and keeps the caller's folder", async () => {
  using box = new Sandbox({ deno: fakeDeno("2.9.0") });
  Deno.mkdirSync(join(box.folder, "links/deep"), { recursive: true });
  const inner = join(box.folder, "links/deep/inner");
  Deno.symlinkSync("../../check out/denoise", inner);
  Deno.symlinkSync(inner, join(box.folder, "outer"));
  const { stdout } = await box.run(
    ["train"],
    { INIT_CWD: "/" },
    join(box.folder, "outer"),
  );
  assert.ok(stdout.includes(`<--cwd><${box.root}><train>`), stdout);
  assert.ok(
    stdout.includes(`INIT_CWD=${box.folder}/home BACKEND=vulkan TRACE=none\n`),
    stdout,
  );
});

test("takes Deno from 2.9 on, in PATH before the home folder", async () => {
  for (const version of ["2.9.0", "2.10.1", "3.0.0", "2.9.6+0a1b2c3"]) {
    using box = new Sandbox({ deno: fakeDeno(version), npm: FAKE_NPM });
    Deno.mkdirSync(join(box.folder, "home/.deno/bin"), { recursive: true });
    box.script(join(box.folder, "home/.deno/bin/deno"), fakeDeno("2.9.1"));
    const { stdout, calls } = await box.run(["train"]);
    assert.match(
      stdout,
      new RegExp(`^ran ${version.replaceAll(/[.+]/g, "\\$&")}\n`),
    );
    assert.equal(calls, "");
  }
});

test("takes Deno from the home folder", async () => {
  using box = new Sandbox({ deno: fakeDeno("2.8.9"), npm: FAKE_NPM });
  Deno.mkdirSync(join(box.folder, "home/.deno/bin"), { recursive: true });
  box.script(join(box.folder, "home/.deno/bin/deno"), fakeDeno("2.9.1"));
  const { stdout, stderr, calls } = await box.run(["train"]);
  assert.match(stdout, /^ran 2\.9\.1\n/);
  assert.equal(stderr + calls, "");
});

test("fetches Deno once where there is none or an old or broken one", async () => {
  for (
    const deno of [undefined, fakeDeno("2.8.9"), fakeDeno("1.46.3"), "exit 126"]
  ) {
    using box = new Sandbox({
      npm: FAKE_NPM,
      ...(deno === undefined ? {} : { deno }),
    });
    for (let start = 0; start < 2; start++) {
      const { code, stdout, calls } = await box.run(["train", "a b"]);
      assert.match(stdout, /^ran 2\.9\.6\n/);
      assert.ok(stdout.endsWith("<train><a b>"), stdout);
      assert.equal(code, 7);
      assert.match(calls, /^npm install .*deno@2\.9\.6.*\n$/); // the one line, also the second time
    }
    const left = Array.from(
      Deno.readDirSync(join(box.folder, "home/.cache/denoise/deno")),
    );
    assert.deepEqual(left.map((entry) => entry.name), ["2.9.6"]);
  }
});

test("keeps a fetched Deno in a temporary folder where there is no home", async () => {
  for (const home of [undefined, "/dev/null/home"]) {
    const id = `echo ${Deno.uid()}`;
    using box = new Sandbox({ npm: FAKE_NPM, id });
    const { stdout } = await box.run(["train"], { HOME: home });
    assert.match(stdout, /^ran 2\.9\.6\n/);
    const kept = join(box.folder, `tmp/denoise-${Deno.uid()}`);
    assert.ok(Deno.statSync(join(kept, "deno/2.9.6/deno")).isFile);
    assert.equal(Deno.statSync(kept).mode! & 0o777, 0o700);
  }
});

test("finds the home folder where HOME is not set", async () => {
  using box = new Sandbox({
    npm: FAKE_NPM,
    getent: '[ "$*" = "passwd 1000" ] && echo "me:x:1000:1::$FOLDER/home:/sh"',
  });
  const { stdout } = await box.run(["train"], { HOME: undefined });
  assert.match(stdout, /^ran 2\.9\.6\n/);
  assert.ok(exists(join(box.folder, "home/.cache/denoise/deno/2.9.6/deno")));
});

test("says what to install where neither Deno nor npm is", async () => {
  using box = new Sandbox();
  const { code, stdout, stderr } = await box.run(["train"]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /neither Deno nor npm.*\n.*deno\.com.*\n.*apt-get install npm.*\n$/,
  );
});

test("shows what npm said when it could not fetch Deno", async () => {
  using box = new Sandbox({ npm: "echo 'no such registry' >&2; exit 1" });
  const { code, stdout, stderr } = await box.run(["train"]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /no such registry\ndenoise: Could not fetch Deno/);
});

test("fetches no Deno under DENOISE_NO_INSTALL", async () => {
  using box = new Sandbox({ npm: FAKE_NPM });
  const { code, stdout, stderr, calls } = await box.run(["train"], {
    DENOISE_NO_INSTALL: "1",
  });
  assert.equal(code, 1);
  assert.equal(stdout + calls, "");
  assert.match(stderr, /\n {2}npm install -g deno@2\.9\.6\n$/);
});

test("needs no driver for ordinary tasks", async () => {
  const cases: [
    args: string[],
    env?: Record<string, string>,
    fakes?: Record<string, string>,
  ][] = [
    [["train", "ddpm"]],
    [["train", "ddpm", "--device", "cpu"], { DENOISE_DEVICE: "webgpu" }],
    [["train", "ddpm", "--device", "webgpu", "--device=auto"]],
    [["bench", "--vs", "tfjs-wasm", "--item", "tfjs"]],
    [["datasets", "list"], { DENOISE_DEVICE: "webgpu" }],
    [["train", "--device", "webgpu", "--help"]],
    [["test", "--help"]],
    [["test"], { DENOISE_DEVICE: "cpu" }],
    [["train", "--device=webgpu"], { DENO_WEBGPU_BACKEND: "gl" }],
    [["train", "--device=webgpu"], {}, { uname: "echo Darwin" }],
  ];
  for (const [args, env, fakes] of cases) {
    using box = new Sandbox({
      deno: fakeDeno("2.9.6"),
      "apt-get": FAKE_APT,
      id: "echo 0",
      ...fakes,
    });
    Deno.removeSync(box.driver);
    const { code, stdout, stderr, calls } = await box.run(args, env);
    assert.equal(stderr + calls, "", args.join(" "));
    assert.match(stdout, /^ran 2\.9\.6\n/);
    assert.equal(code, 7);
  }
});

/** Command lines that run on nothing but WebGPU. */
const NEED_WEBGPU: [args: string[], env?: Record<string, string>][] = [
  [["train", "ddpm", "--device", "webgpu"]],
  [["train", "--device=webgpu", "ddpm"]],
  [["train", "ddpm"], { DENOISE_DEVICE: "webgpu" }],
  [["test"], { DENOISE_DEVICE: "webgpu" }],
  [["bench", "--device", "cpu", "--vs", "tfjs"]],
  [["bench", "--vs=tfjs-wasm,jax-js", "--item", "matmul*"]],
];

test("names one command where WebGPU is asked for and it may not install a driver", async () => {
  const users: [id: string, env: Record<string, string>][] = [
    ["echo 1000", {}],
    ["echo 0", { DENOISE_NO_INSTALL: "1" }],
  ];
  for (const [id, userEnv] of users) {
    for (const [args, env] of NEED_WEBGPU) {
      using box = new Sandbox({
        deno: fakeDeno("2.9.6"),
        "apt-get": FAKE_APT,
        sudo: FAKE_APT,
        id,
      });
      Deno.removeSync(box.driver);
      const { code, stdout, stderr, calls } = await box.run(args, {
        ...env,
        ...userEnv,
      });
      assert.equal(code, 1, args.join(" "));
      assert.equal(stdout + calls, "");
      const commands = stderr.split("\n").filter((line) =>
        line.startsWith("  ")
      );
      assert.equal(commands.length, 1, stderr);
      assert.match(
        commands[0]!,
        /^ {2}sudo apt-get update && sudo apt-get install .*mesa-vulkan-drivers libvulkan1$/,
      );
    }
  }
});

test("knows the package managers of other systems", async () => {
  for (const manager of ["dnf", "pacman", "zypper", "apk"]) {
    using box = new Sandbox({ deno: fakeDeno("2.9.6"), [manager]: FAKE_APT });
    Deno.removeSync(box.driver);
    const { code, stderr } = await box.run(["train", "--device=webgpu"]);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`\n {2}sudo ${manager} .*vulkan.*\n$`));
  }
});

test("asks for the Vulkan loader too", async () => {
  using box = new Sandbox({
    deno: fakeDeno("2.9.6"),
    "apt-get": FAKE_APT,
    ldconfig: "",
  });
  const { code, stderr } = await box.run(["train", "--device=webgpu"]);
  const here = ["", ...Array.from(Deno.readDirSync("/usr/lib"), (e) => e.name)]
    .filter((name) => name === "" || name.includes("-linux-gnu"))
    .map((name) => `/usr/lib/${name}`)
    .concat("/usr/lib64", "/usr/local/lib")
    .some((folder) => exists(`${folder}/libvulkan.so.1`));
  assert.equal(code, here ? 7 : 1);
  assert.equal(stderr.includes("apt-get install"), !here);
});

test("installs a driver as root for WebGPU and for the tests, then runs the task", async () => {
  for (const [args, env] of [...NEED_WEBGPU, [["test"]] as const]) {
    using box = new Sandbox({
      deno: fakeDeno("2.9.6"),
      "apt-get": FAKE_APT,
      id: "echo 0",
    });
    Deno.removeSync(box.driver);
    const { code, stdout, stderr, calls } = await box.run([...args], env);
    assert.equal(code, 7, args.join(" "));
    assert.match(stdout, /^ran 2\.9\.6\n/);
    assert.match(stderr, /^denoise: Installing a Vulkan driver .*\n$/);
    assert.match(calls, / install .*mesa-vulkan-drivers libvulkan1\n$/);
    const left = Array.from(Deno.readDirSync(join(box.folder, "tmp")));
    assert.deepEqual(left, []);
  }
});

test("shows what the package manager said when it could not install a driver", async () => {
  for (const [task, expected] of [["train", 1], ["test", 7]] as const) {
    using box = new Sandbox({
      deno: fakeDeno("2.9.6"),
      dnf: "echo 'no such package'; exit 1",
      id: "echo 0",
    });
    Deno.removeSync(box.driver);
    const { code, stderr } = await box.run(
      task === "train" ? [task, "--device=webgpu"] : [task],
    );
    assert.equal(code, expected);
    assert.match(
      stderr,
      /no such package\ndenoise: Could not install a Vulkan driver/,
    );
    assert.equal(/tests .* are skipped\n$/.test(stderr), task === "test");
    const left = Array.from(Deno.readDirSync(join(box.folder, "tmp")));
    assert.deepEqual(left, []);
  }
});

test("runs the tests without a driver where it may not install one", async () => {
  using box = new Sandbox({ deno: fakeDeno("2.9.6"), "apt-get": FAKE_APT });
  Deno.removeSync(box.driver);
  const { code, stdout, stderr, calls } = await box.run(["test", "--quick"]);
  assert.equal(code, 7);
  assert.ok(stdout.endsWith("<test><--quick>"), stdout);
  assert.match(stderr, /\n {2}sudo apt-get .*\n.*tests .* are skipped\n$/);
  assert.equal(calls, "");
});

test("lets the doctor look where there is no driver", async () => {
  for (const args of [["doctor"], ["doctor", "--device=webgpu"]]) {
    using box = new Sandbox({ deno: fakeDeno("2.9.6"), "apt-get": FAKE_APT });
    Deno.removeSync(box.driver);
    const { code, stdout, stderr, calls } = await box.run(args);
    assert.equal(code, 7);
    assert.match(stdout, /^ran 2\.9\.6\n/);
    assert.match(
      stderr,
      /needs a Vulkan driver.*\n {2}sudo apt-get .*\n.*the CPU computes.*\n$/,
    );
    assert.equal(calls, "");
  }
});

test("installs nothing for the doctor as root, unless WebGPU is asked for", async () => {
  for (const device of ["auto", "webgpu"]) {
    using box = new Sandbox({
      deno: fakeDeno("2.9.6"),
      "apt-get": FAKE_APT,
      id: "echo 0",
    });
    Deno.removeSync(box.driver);
    const { code, calls } = await box.run(["doctor", "--device", device]);
    assert.equal(code, 7);
    assert.equal(calls.includes("install"), device === "webgpu");
  }
});

test("hands over to the help task", async () => {
  for (const args of [[], ["help"], ["--help"], ["-h"], ["--help", "train"]]) {
    using box = new Sandbox({ deno: fakeDeno("2.9.6") });
    Deno.removeSync(box.driver);
    const { stdout } = await box.run(args);
    const expected = ["help", ...args.slice(1)].map((arg) => `<${arg}>`);
    assert.ok(stdout.endsWith(`<${box.root}>${expected.join("")}`), stdout);
  }
});

test("ends with 2 for an unknown task", async () => {
  for (
    const task of ["trian", "other", "--steps", "t.ain", "train\ndatasets"]
  ) {
    using box = new Sandbox({ deno: fakeDeno("2.9.6") });
    const { code, stdout, stderr } = await box.run([task]);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(
      stderr,
      /^denoise: Unknown task "[^]*": the tasks are train datasets doctor bench test help test:data/,
    );
  }
});
