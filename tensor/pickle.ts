/**
 * Python's pickles, protocols 0 to 5, read without running anything: a pickle is a program for a
 * stack machine, whose only dangerous instructions look up a Python global and call it. Here a global
 * is a row of the caller's table, or an error.
 * https://github.com/python/cpython/blob/main/Lib/pickletools.py
 *
 * @module
 */

/** What a global is called with: a function of the table, and nothing else, can be called. */
export type PickleFunction = (...args: readonly unknown[]) => unknown;

/** What a pickle may name. */
export interface PickleNames {
  /** Values by full name, `collections.OrderedDict`. Functions may be called by the pickle. */
  globals: ReadonlyMap<string, unknown>;
  /** What a persistent id stands for; without it they are refused. */
  persistent?: (id: unknown) => unknown;
}

/** A tuple, apart from a list (which is a plain array). Compares by identity as a key. */
export class PickleTuple {
  /** @param items Its members. */
  constructor(readonly items: readonly unknown[]) {}
}

/** Longest integer; those of checkpoints take 10 bytes at most. */
const MAX_INTEGER_BYTES = 64;

const MARK = Symbol("mark");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function fail(problem: string): never {
  throw new SyntaxError(`Cannot read pickle as ${problem}`);
}

/** A name as errors print it. */
function quote(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/**
 * Reads one pickle: `None` is null, an integer a number (a bigint past 2^53), bytes a Uint8Array, a
 * list an array, a tuple a `PickleTuple`, a dict a Map, a set a Set. The state that `BUILD` gives to
 * an object is dropped.
 *
 * @param bytes What holds the pickle.
 * @param start Where it begins.
 * @returns The value, and where the pickle ends.
 * @throws {SyntaxError} If it is cut off or broken, or names a global that is not in the table.
 */
export function readPickle(
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  names: PickleNames,
): { value: unknown; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const memo = new Map<number, unknown>();
  const stack: unknown[] = [];
  const marks: number[] = []; // where in the stack the marks are
  let at = start;

  /** Moves on by `count` bytes, and says where they began. */
  function take(count: number): number {
    if (count > bytes.length - at) {
      fail(
        `it ends too early: ${count} bytes are wanted at ${at}, ${
          bytes.length - at
        } follow`,
      );
    }
    at += count;
    return at - count;
  }
  const u8 = () => view.getUint8(take(1));
  const u32 = () => view.getUint32(take(4), true);
  // A length that a double rounds is longer than any file.
  const u64 = () => Number(view.getBigUint64(take(8), true));
  function slice(count: number): Uint8Array<ArrayBuffer> {
    const from = take(count);
    return bytes.subarray(from, from + count);
  }
  function text(count: number): string {
    const raw = slice(count);
    try {
      return utf8.decode(raw);
    } catch {
      fail(`the text before ${at} must be UTF-8`);
    }
  }
  function line(): string {
    const end = bytes.indexOf(10, at);
    if (end < 0) fail(`it ends too early: the line at ${at} has no end`);
    // Latin-1, as protocol 0 writes what it does not escape.
    const content = Array.from(slice(end - at), (c) => String.fromCharCode(c));
    at++;
    return content.join("");
  }
  function whole(): number {
    const digits = line();
    if (!/^\d{1,10}$/.test(digits)) {
      fail(`a memo's number must be digits: it is ${quote(digits)}`);
    }
    return Number(digits);
  }

  function pop(): unknown {
    if (stack.length <= (marks.at(-1) ?? -1) + 1) {
      fail(`the stack is empty at ${at - 1}`);
    }
    return stack.pop();
  }
  function top(): unknown {
    const value = pop();
    stack.push(value);
    return value;
  }
  function popToMark(): unknown[] {
    const mark = marks.pop();
    if (mark === undefined) fail(`there is no mark at ${at - 1}`);
    const items = stack.splice(mark + 1);
    stack.pop();
    return items;
  }
  function tuple(count: number): void {
    const items = Array.from({ length: count }, pop).reverse();
    stack.push(new PickleTuple(items));
  }
  function recall(key: number): void {
    if (!memo.has(key)) fail(`nothing was kept under ${key} at ${at}`);
    stack.push(memo.get(key));
  }

  function find(module: unknown, name: unknown): unknown {
    if (typeof module !== "string" || typeof name !== "string") {
      fail(`the name of a global must be text at ${at}`);
    }
    const path = `${module}.${name}`;
    if (!names.globals.has(path)) {
      fail(
        `it asks for ${
          quote(path)
        }, which is not among the few globals that are known: nothing was executed`,
      );
    }
    return names.globals.get(path);
  }
  function call(callee: unknown, args: unknown): void {
    if (typeof callee !== "function") fail(`what is called at ${at} cannot be`);
    if (!(args instanceof PickleTuple)) {
      fail(`arguments must be a tuple at ${at}`);
    }
    // A call with very many arguments would overflow the host's stack.
    if (args.items.length > 16) fail(`a call has too many arguments at ${at}`);
    stack.push((callee as PickleFunction)(...args.items));
  }
  function persistent(id: unknown): void {
    if (!names.persistent) fail(`persistent ids mean nothing here, at ${at}`);
    stack.push(names.persistent(id));
  }

  function setItems(items: readonly unknown[]): void {
    const dict = top();
    if (!(dict instanceof Map)) fail(`items are set on no dict at ${at}`);
    if (items.length % 2 !== 0) fail(`a key has no value at ${at}`);
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }
  function append(items: readonly unknown[]): void {
    const list = top();
    if (!Array.isArray(list)) fail(`items are appended to no list at ${at}`);
    for (const item of items) list.push(item);
  }
  function dictOf(items: readonly unknown[]): void {
    stack.push(new Map());
    setItems(items);
  }
  function integer(count: number): number | bigint {
    if (count < 0 || count > MAX_INTEGER_BYTES) {
      fail(
        `an integer must have 0 to ${MAX_INTEGER_BYTES} bytes: it claims ${count} at ${at}`,
      );
    }
    const raw = slice(count);
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = value << 8n | BigInt(raw[i]!);
    return narrow(BigInt.asIntN(8 * count, value));
  }

  // One instruction a turn, each at least one byte: the loop ends where the bytes do.
  for (;;) {
    const opcode = u8();
    switch (opcode) {
      case 0x80: { // PROTO
        const protocol = u8();
        if (protocol > 5) fail(`protocol ${protocol} is not known`);
        break;
      }
      case 0x95: { // FRAME, a hint for readers of streams
        const length = u64();
        if (length > bytes.length - at) {
          fail(
            `it ends too early: a frame of ${length} bytes begins at ${at}, ${
              bytes.length - at
            } follow`,
          );
        }
        break;
      }
      case 0x2e: { // STOP
        const value = pop();
        if (stack.length > 0) fail(`values are left over at ${at}`);
        return { value, end: at };
      }

      case 0x28: // MARK
        marks.push(stack.length);
        stack.push(MARK);
        break;
      case 0x30: // POP, which takes a mark as well
        if (stack.at(-1) === MARK) popToMark();
        else pop();
        break;
      case 0x31: // POP_MARK
        popToMark();
        break;
      case 0x32: // DUP
        stack.push(top());
        break;

      case 0x70: // PUT
        memo.set(whole(), top());
        break;
      case 0x71: // BINPUT
        memo.set(u8(), top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(u32(), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x67: // GET
        recall(whole());
        break;
      case 0x68: // BINGET
        recall(u8());
        break;
      case 0x6a: // LONG_BINGET
        recall(u32());
        break;

      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
        stack.push(true);
        break;
      case 0x89: // NEWFALSE
        stack.push(false);
        break;
      case 0x49: { // INT, which also spells booleans
        const digits = line();
        stack.push(
          digits === "01" || (digits === "00" ? false : decimal(digits)),
        );
        break;
      }
      case 0x4c: // LONG
        stack.push(decimal(line().replace(/L$/, "")));
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(u8());
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(integer(u8()));
        break;
      case 0x8b: // LONG4
        stack.push(integer(view.getInt32(take(4), true)));
        break;
      case 0x46: // FLOAT
        stack.push(float(line()));
        break;
      case 0x47: // BINFLOAT, the only big-endian one
        stack.push(view.getFloat64(take(8)));
        break;

      case 0x53: // STRING
        stack.push(quoted(line()));
        break;
      case 0x54: // BINSTRING
      case 0x58: // BINUNICODE
        stack.push(text(u32()));
        break;
      case 0x55: // SHORT_BINSTRING
      case 0x8c: // SHORT_BINUNICODE
        stack.push(text(u8()));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(text(u64()));
        break;
      case 0x56: // UNICODE
        stack.push(unescape(line(), /\\u([0-9a-f]{4})|\\U([0-9a-f]{8})/g));
        break;
      case 0x42: // BINBYTES
        stack.push(slice(u32()));
        break;
      case 0x43: // SHORT_BINBYTES
        stack.push(slice(u8()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        stack.push(slice(u64()));
        break;

      case 0x29: // EMPTY_TUPLE
        tuple(0);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        tuple(opcode - 0x84);
        break;
      case 0x74: // TUPLE
        stack.push(new PickleTuple(popToMark()));
        break;
      case 0x5d: // EMPTY_LIST
        stack.push([]);
        break;
      case 0x6c: // LIST
        stack.push(popToMark());
        break;
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
        append(popToMark());
        break;
      case 0x7d: // EMPTY_DICT
        stack.push(new Map());
        break;
      case 0x64: // DICT
        dictOf(popToMark());
        break;
      case 0x73: { // SETITEM
        const value = pop();
        setItems([pop(), value]);
        break;
      }
      case 0x75: // SETITEMS
        setItems(popToMark());
        break;
      case 0x8f: // EMPTY_SET
        stack.push(new Set());
        break;
      case 0x91: // FROZENSET
        stack.push(new Set(popToMark()));
        break;
      case 0x90: { // ADDITEMS
        const items = popToMark();
        const set = top();
        if (!(set instanceof Set)) fail(`items are added to no set at ${at}`);
        for (const item of items) set.add(item);
        break;
      }

      case 0x63: { // GLOBAL
        const module = line();
        stack.push(find(module, line()));
        break;
      }
      case 0x93: { // STACK_GLOBAL
        const name = pop();
        stack.push(find(pop(), name));
        break;
      }
      case 0x69: { // INST
        const module = line();
        const callee = find(module, line());
        call(callee, new PickleTuple(popToMark()));
        break;
      }
      case 0x6f: { // OBJ
        const [callee, ...args] = popToMark();
        call(callee, new PickleTuple(args));
        break;
      }
      case 0x52: // REDUCE
      case 0x81: { // NEWOBJ
        const args = pop();
        call(pop(), args);
        break;
      }
      case 0x92: { // NEWOBJ_EX
        const named = pop();
        if (!(named instanceof Map) || named.size > 0) {
          fail(`a call has named arguments at ${at}`);
        }
        const args = pop();
        call(pop(), args);
        break;
      }
      case 0x62: // BUILD: attributes, such as a state dict's `_metadata`
        pop();
        top();
        break;
      case 0x50: // PERSID
        persistent(line());
        break;
      case 0x51: // BINPERSID
        persistent(pop());
        break;

      default: // also EXT and out-of-band buffers, whose meaning is outside the file
        fail(`the opcode 0x${opcode.toString(16)} at ${at - 1} is not known`);
    }
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function decimal(digits: string): number | bigint {
  if (!/^-?\d{1,150}$/.test(digits)) {
    fail(`an integer must be digits: it is ${quote(digits)}`);
  }
  return narrow(BigInt(digits));
}

function float(digits: string): number {
  const value = { inf: Infinity, "-inf": -Infinity, nan: NaN }[digits];
  if (value !== undefined) return value;
  const number = Number(digits);
  if (digits.trim() === "" || Number.isNaN(number)) {
    fail(`a float must be a number: it is ${quote(digits)}`);
  }
  return number;
}

/** The text of a Python 2 string literal. */
function quoted(literal: string): string {
  const inner = /^(['"])(.*)\1$/.exec(literal)?.[2];
  if (inner === undefined) fail(`a string must be quoted: ${quote(literal)}`);
  return unescape(inner, /\\x([0-9a-f]{2})|\\([\\'"nrt])/g);
}

/** Replaces escapes, of which the pattern finds hexadecimal digits or the character itself. */
function unescape(text: string, pattern: RegExp): string {
  return text.replace(pattern, (_, first?: string, second?: string) => {
    if (second?.length === 1) {
      return { n: "\n", r: "\r", t: "\t" }[second] ?? second;
    }
    const code = parseInt(first ?? second!, 16);
    if (code > 0x10ffff) fail(`there is no character ${code}`);
    return String.fromCodePoint(code);
  });
}
