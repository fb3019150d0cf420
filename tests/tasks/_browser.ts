/**
 * A headless Chromium, spoken to by the DevTools protocol.
 *
 * @module
 */
import { delimiter, join } from "node:path";

/** Names under which Chromium is installed. */
const NAMES = [
  "chromium",
  "chromium-headless-shell",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
  "chrome",
];

/** Chromium's executable: that of `CHROMIUM`, or the first on the PATH; undefined if there is none. */
export function findChromium(): string | undefined {
  const named = Deno.env.get("CHROMIUM");
  if (named) return named;
  const folders = (Deno.env.get("PATH") ?? "").split(delimiter);
  const end = Deno.build.os === "windows" ? ".exe" : "";
  return NAMES.flatMap((name) =>
    folders.map((folder) => join(folder, name + end))
  ).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

/** How a page is looked at. */
export interface View {
  /** Pixels of CSS. */
  width: number;
  height: number;
  scheme: "light" | "dark";
  /** Whether it is a phone's screen, of two pixels for each of CSS. */
  phone: boolean;
}

type Message = {
  id?: number;
  method?: string;
  params: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
};

/** A browser with one page. */
export class Browser implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (message: Message) => void>();
  readonly #events = new Map<string, () => void>();
  #session?: string;
  #sent = 0;
  /** Errors, warnings and failed requests of the page. */
  complaints: string[] = [];

  private constructor(
    process: Deno.ChildProcess,
    folder: string,
    socket: WebSocket,
  ) {
    this.#process = process;
    this.#folder = folder;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts a browser. */
  static async open(executable: string): Promise<Browser> {
    const folder = await Deno.makeTempDir();
    const process = new Deno.Command(executable, {
      args: [
        "--headless",
        "--no-sandbox", // where tests run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        `--user-data-dir=${folder}`,
        "about:blank",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const socket = new WebSocket(await addressOf(process.stderr));
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error("Cannot speak to the browser"));
    });
    const browser = new Browser(process, folder, socket);
    const { targetId } = await browser.#send("Target.createTarget", {
      url: "about:blank",
    });
    const { sessionId } = await browser.#send("Target.attachToTarget", {
      targetId,
      flatten: true,
    });
    browser.#session = sessionId as string;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) {
      await browser.#send(`${domain}.enable`);
    }
    return browser;
  }

  #send(
    method: string,
    params: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    const id = ++this.#sent;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result!);
      });
      this.#socket.send(
        JSON.stringify({ id, method, params, sessionId: this.#session }),
      );
    });
  }

  #receive({ id, method, params, ...answer }: Message): void {
    if (id !== undefined) {
      this.#waiting.get(id)?.({ params, ...answer });
      this.#waiting.delete(id);
      return;
    }
    switch (method) {
      case "Runtime.consoleAPICalled":
      case "Runtime.exceptionThrown":
      case "Log.entryAdded":
      case "Network.loadingFailed":
        this.complaints.push(`${method}: ${JSON.stringify(params)}`);
        break;
      case "Network.requestWillBeSent": {
        const { url } = params.request as { url: string };
        if (!/^(file|data):/.test(url)) this.complaints.push(`asks for ${url}`);
      }
    }
    this.#events.get(method!)?.();
  }

  /** Loads a page and waits until it is there. */
  async load(
    url: string,
    { width, height, scheme, phone }: View,
  ): Promise<void> {
    this.complaints = [];
    await this.#send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: phone ? 2 : 1,
      mobile: phone,
    });
    await this.#send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
    const loaded = new Promise<void>((resolve) =>
      this.#events.set("Page.loadEventFired", resolve)
    );
    await this.#send("Page.navigate", { url });
    await loaded;
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    }) as { result: { value: T }; exceptionDetails?: { text: string } };
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  /** A picture of the whole page, as PNG. */
  async screenshot(): Promise<Uint8Array> {
    const { data } = await this.#send("Page.captureScreenshot", {
      captureBeyondViewport: true,
    });
    return Uint8Array.fromBase64(data as string);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    await this.#send("Browser.close").catch(() => {});
    await closed;
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Where the browser listens, as it says itself; reads on so that it is never held up. */
async function addressOf(
  stderr: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<string> {
  const reader = stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The browser did not start: ${text}`);
    text += value;
    const address = /DevTools listening on (ws:\S+)\s/.exec(text)?.[1];
    if (!address) continue;
    void (async () => {
      while (!(await reader.read()).done);
    })();
    return address;
  }
}
