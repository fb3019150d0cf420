/**
 * TensorFlow.js on its WebAssembly backend: the build with SIMD and threads.
 *
 * That build starts its threads as Node.js or a browser would, and this runtime is neither: it has the
 * former's `process` and the latter's workers, of modules only. So its threads get a worker that
 * passes for a browser's classic one.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any
import os from "node:os";
import type { Library } from "../library.ts";
import { cpuName } from "./cpu_name.ts";
import { load, tfjsLibrary, VERSION } from "./tfjs.ts";

/** Takes the scripts that a classic worker would import, and hides that this is not a browser. */
const START = `onmessage = ({ data: { script, load } }) => {
  globalThis.process = undefined;
  globalThis.importScripts = globalThis.eval;
  importScripts(script);
  onmessage({ data: load });
};`;
const startUrl = URL.createObjectURL(
  new Blob([START], { type: "text/javascript" }),
);

class ThreadWorker extends Worker {
  readonly #script: Promise<string>;

  constructor(url: string) {
    super(startUrl, { type: "module" });
    this.#script = fetch(url).then((response) => response.text());
  }

  override async postMessage(message: any): Promise<void> {
    if (message.cmd !== "load") return super.postMessage(message);
    const script = await this.#script;
    const urlOrBlob = await message.urlOrBlob.text();
    super.postMessage({ script, load: { ...message, urlOrBlob } });
  }

  // Of Node.js's workers; `onmessage` and `onerror` are set besides.
  on(): void {}
  ref(): void {}
  unref(): void {}
}

/** Opens TensorFlow.js on the CPU. */
export async function openTfjsWasm(threads: number): Promise<Library<any>> {
  // The backend would put Node.js's class here.
  Object.defineProperty(globalThis, "Worker", {
    get: () => ThreadWorker,
    set: () => {},
  });
  // It takes half of the cores at most.
  os.cpus = () => Array(2 * threads);
  const tf = await load("tfjs"); // with gradients, which tfjs-core alone does not register
  const wasm = await load("tfjs-backend-wasm");
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", true); // it thinks not, where there is a process
  wasm.setThreadsCount(threads);
  if (!await tf.setBackend("wasm")) {
    throw new Error("TensorFlow.js did not open its WebAssembly backend");
  }
  await tf.ready();
  return tfjsLibrary(
    tf,
    `tfjs-wasm-${VERSION}`,
    cpuName(wasm.getThreadsCount()),
  );
}
