/**
 * Path functions of the tasks, under the names of `@std/path`; the only module
 * of this folder that names the package.
 *
 * @module
 */
export {
  basename,
  dirname,
  isAbsolute,
  join,
  relative,
  resolve,
} from "node:path";
