/** The one place that loads `sharp`, the native library for image files. */

/** The callable module of `npm:sharp`. */
export type Sharp = typeof import("npm:sharp@0.35.5").default;

let loaded: Promise<Sharp> | undefined;

/**
 * Loads `npm:sharp` on first use. The specifier is computed, so that an
 * import of this project does not fetch the package (71 MB) for those who
 * never read an image file.
 *
 * @returns The `sharp` function. Needs `--allow-ffi --allow-env --allow-sys`.
 * @throws {Error} If the package cannot be fetched or may not be loaded.
 */
export function loadSharp(): Promise<Sharp> {
  loaded ??= importSharp();
  loaded.catch(() => loaded = undefined); // a later call may try again
  return loaded;
}

async function importSharp(): Promise<Sharp> {
  const specifier = "npm:sharp@0.35.5";
  try {
    const module = await import(specifier) as typeof import("npm:sharp@0.35.5");
    return module.default;
  } catch (error) {
    throw new Error(
      `Cannot load ${specifier}, which reads and writes image files: ${
        (error as Error).message
      }. It needs --allow-ffi --allow-env --allow-sys, and the network on first use`,
      { cause: error },
    );
  }
}
