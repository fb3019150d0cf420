/**
 * What `deno task tune` measured, kept for each adapter beside the downloaded data. The tasks read
 * it when they start; the library itself never touches the disk.
 *
 * @module
 */
import { cacheDir, deviceError, deviceInfo, setVariants } from "../mod.ts";
import { join } from "./_path.ts";

/** A variant for each class of products, as `setVariants` takes it. */
export type Tuned = Record<string, string>;

/** The file for the adapter in use, such as `tuned-nvidia-h100.json`. */
export function tunedFile(): string {
  const adapter = deviceInfo().adapter.toLowerCase().replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  return join(cacheDir(), `tuned-${adapter}.json`);
}

/** The table of the adapter in use; empty where there is none, or no permission to read it. */
export function readTuned(): Tuned {
  const path = tunedFile();
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    return {};
  }
  try {
    return JSON.parse(Deno.readTextFileSync(path))?.variants ?? {};
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
}

/** Writes the table of the adapter in use. */
export async function writeTuned(variants: Tuned): Promise<void> {
  const { adapter } = deviceInfo();
  await Deno.mkdir(cacheDir(), { recursive: true });
  await Deno.writeTextFile(
    tunedFile(),
    JSON.stringify({ adapter, variants }, null, 2) + "\n",
  );
}

/**
 * Makes products take the forms measured for this adapter; for the start of a task.
 *
 * @throws {SyntaxError} If the file is not a table of variants.
 */
export function useTuned(): void {
  if (deviceError()) return;
  try {
    setVariants(readTuned());
  } catch (error) {
    throw new SyntaxError(
      `Cannot use ${tunedFile()}: ${(error as Error).message}. ` +
        "Delete it, and deno task tune writes it anew",
      { cause: error },
    );
  }
}
