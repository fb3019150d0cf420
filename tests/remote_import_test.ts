/**
 * What a Deno script elsewhere gets from `import … from "https://…/mod.ts"`: everything in the graph
 * must load over HTTP with no permission but the import itself.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

const SCRIPT = (host: string) => `
import {
  add, deviceInfo, gradients, Linear, loadDigits, matmul, mseLoss, relu, Rng, scope, SGD, tensor,
} from "http://${host}/mod.ts";

const product = matmul(tensor([[1, 2], [3, 4]]), tensor([[5, 6], [7, 8]]));
const rng = new Rng(1);
const first = new Linear(2, 16, rng), second = new Linear(16, 1, rng);
const parameters = [...first.parameters(), ...second.parameters()];
const optimizer = new SGD(parameters, { learningRate: 0.1 });
const x = tensor([[0, 0], [0, 1], [1, 0], [1, 1]]), y = tensor([[0], [1], [1], [2]]);
const losses = [];
for (let step = 0; step < 10; step++) {
  losses.push(scope(() => {
    const loss = mseLoss(second.forward(relu(first.forward(x))), y);
    optimizer.step(gradients(loss, parameters));
    return loss;
  }));
}
const values = await Promise.all(losses.map((loss) => loss.item()));
console.log(JSON.stringify({
  executor: deviceInfo().executor,
  product: await product.toArray(),
  first: values[0], last: values.at(-1),
  sum: await add(1, 2).item(),
  digits: loadDigits("train").length,
}));
`;

async function importFrom(
  script: (host: string) => string,
  env: Record<string, string> = {},
  permissions: (host: string) => string[] = () => [],
) {
  const requested: string[] = [];
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const path = new URL(request.url).pathname;
      requested.push(path);
      const body = await Deno.readFile(new URL(`.${path}`, ROOT)).catch(() =>
        null
      );
      return new Response(body, { status: body ? 200 : 404 });
    },
  );
  const folder = await Deno.makeTempDir();
  try {
    const host = `127.0.0.1:${server.addr.port}`;
    await Deno.writeTextFile(`${folder}/main.ts`, script(host));
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: [
          "run",
          "--no-prompt",
          `--allow-import=${host}`,
          ...Object.keys(env).map((variable) => `--allow-env=${variable}`),
          ...permissions(host),
          "main.ts",
        ],
        cwd: folder,
        env: { DENO_DIR: `${folder}/cache`, NO_COLOR: "1", ...env },
        stdin: "null",
      },
    ).output();
    const decoder = new TextDecoder();
    return {
      success,
      requested,
      stdout: decoder.decode(stdout),
      stderr: decoder.decode(stderr),
    };
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("mod.ts works when imported over HTTP with no other permission", async () => {
  const { success, stdout, stderr, requested } = await importFrom(SCRIPT);
  assert.ok(success, stderr);
  const result = JSON.parse(stdout);
  assert.deepEqual(result.product, [[19, 22], [43, 50]]);
  assert.equal(result.sum, 3);
  assert.equal(result.digits, 1500);
  assert.ok(
    result.last < result.first / 2,
    `loss ${result.first} -> ${result.last}`,
  );
  assert.ok(requested.includes("/mod.ts"));
  assert.ok(
    !requested.some((path) => path.startsWith("/tasks/")),
    "tasks are not for import",
  );
});

Deno.test("imported over HTTP, it computes on the CPU's threads when that is asked", async () => {
  const { success, stdout, stderr } = await importFrom(SCRIPT, {
    DENOISE_DEVICE: "cpu",
  });
  assert.ok(success, stderr);
  const result = JSON.parse(stdout);
  assert.equal(result.executor, "cpu");
  assert.deepEqual(result.product, [[19, 22], [43, 50]]);
  assert.ok(result.last < result.first / 2);
});

Deno.test("imported over HTTP, pretrained weights come from where mod.ts does", async () => {
  const { success, stdout, stderr, requested } = await importFrom(
    (host) => `
      import { pretrainedLeNet } from "http://${host}/mod.ts";
      console.log((await pretrainedLeNet("mnist")).accuracy);
    `,
    {},
    (host) => [`--allow-net=${host}`],
  );
  assert.ok(success, stderr);
  assert.ok(Number(stdout) > 0.99, stdout);
  assert.ok(requested.includes("/models/weights/lenet-mnist.safetensors"));
});

Deno.test("mod.ts reaches only relative, node: and fully-qualified npm: modules", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "mod.ts"],
    cwd: ROOT,
  }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
    modules: {
      specifier: string;
      kind: string;
      dependencies?: { specifier: string }[];
    }[];
  };
  const specifiers = modules.flatMap(({ dependencies = [] }) =>
    dependencies.map(({ specifier }) => specifier)
  );
  assert.ok(specifiers.length > 50);
  const odd = specifiers.filter((specifier) =>
    !/^(\.{1,2}\/|node:|npm:(@[\w-]+\/)?[\w-]+@\d)/.test(specifier)
  );
  assert.deepEqual(odd, []);
});
