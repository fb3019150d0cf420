/** The path functions that `datasets/` uses, from one place. */
export { basename, dirname, extname, join } from "node:path";
