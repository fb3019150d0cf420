/**
 * Random compute shaders of the subset that is compiled, from a seed. They are well-defined: loops
 * end, every invocation writes to places of its own, barriers are in uniform control flow, floats
 * stay finite.
 *
 * @module
 */
import type { Job } from "../_run.ts";
import { expression, type Node, reading, statement } from "./node.ts";
import { Random } from "./random.ts";

/** Words that an invocation may write, in each of two buffers. */
const ROW = 16;

/** A program and its input. */
export interface Generated {
  readonly node: Node;
  readonly job: Job;
  readonly constants: Readonly<Record<string, number>>;
  /** Whether all floats are exact, so that it does not matter which operations are fused. */
  readonly exact: boolean;
}

/** What programs may do. */
export interface Options {
  /**
   * Only what any driver does alike: floats are small whole numbers, indices are in range, shifts are
   * below 32, functions in expressions change nothing.
   */
  readonly portable: boolean;
}

type Scalar = "i32" | "u32" | "f32" | "bool";

interface Name {
  readonly name: string;
  readonly type: string;
  readonly writable: boolean;
  /** Whether the same in all invocations of a workgroup. */
  readonly pointer?: boolean;
}

interface Func {
  readonly name: string;
  readonly parameters: readonly { type: string; pointer: boolean }[];
  readonly result: string;
  /** Whether a call changes nothing but its result. */
  readonly pure: boolean;
}

const SCALARS: readonly Scalar[] = ["i32", "u32", "f32", "bool"];
const ARRAYS = ["array<i32, 3>", "array<f32, 4>", "array<vec4u, 2>"];
const LETTER: Record<Scalar, string> = {
  i32: "i",
  u32: "u",
  f32: "f",
  bool: "<bool>",
};

function vector(scalar: Scalar, width: number): string {
  return width === 1 ? scalar : `vec${width}${LETTER[scalar]}`;
}

function scalarOf(type: string): Scalar {
  if (SCALARS.includes(type as Scalar)) return type as Scalar;
  const letter = type.slice(4);
  return SCALARS.find((s) => LETTER[s] === letter)!;
}

function widthOf(type: string): number {
  return type.startsWith("vec") ? Number(type[3]) : 1;
}

const isArray = (type: string) => type.startsWith("array");

/** Element type and length of an array. */
function arrayOf(type: string): [element: string, count: number] {
  const [, element, count] = /^array<(.*), (\d+)>$/.exec(type)!;
  return [element!, Number(count)];
}

/** Types of the members of `struct S`. */
const MEMBERS = { a: "f32", b: "vec3i", c: "array<i32, 3>", d: "vec2<bool>" };

class Generator {
  readonly #random: Random;
  readonly #portable: boolean;
  readonly #functions: Func[] = [];
  #names: Name[] = [];
  #counter = 0;
  /** How deep statements are nested in loops, and in switches. */
  #loops = 0;
  #switches = 0;
  /** Whether the function changes more than its result; calls of such are not for expressions. */
  #changes = false;
  #result: string | null = null;
  #mayReturn = true;
  #inMain = false;
  #invocations = 1;
  /** Whether four invocations may go together: no arrays and atomics, writes at the end only. */
  readonly #calm: boolean;

  constructor(seed: number, { portable }: Options) {
    this.#random = new Random(seed);
    this.#portable = portable;
    this.#calm = this.#random.chance(0.5);
  }

  run(): Generated {
    const random = this.#random;
    const size = random.pick([
      [1, 1, 1],
      [4, 1, 1],
      [8, 1, 1],
      [8, 1, 1],
      [5, 1, 1],
      [4, 2, 1],
      [2, 3, 1],
      [8, 1, 2],
    ].filter(([x]) => !this.#calm || x! % 4 === 0)) as [number, number, number];
    const groups: [number, number, number] = [
      1 + random.below(3),
      1 + random.below(2),
      1,
    ];
    this.#invocations = size.reduce((a, b) => a * b);
    const total = this.#invocations * groups.reduce((a, b) => a * b);
    const globals = this.#globals();
    const functions = Array.from(
      { length: random.below(4) },
      () => this.#function(),
    );
    const main = this.#main();
    const node = statement(
      HEAD,
      `var<workgroup> tile: array<${TILE}, ${this.#invocations}>;\n`,
      ...globals,
      ...functions,
      `@compute @workgroup_size(${size.join(", ")})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_id) local: vec3u, @builtin(global_invocation_id) id: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = ((wg.y * grid.x + wg.x) * ${this.#invocations}u + lane) * ${ROW}u;\n`,
      main,
      "}\n",
    );
    return {
      node,
      exact: this.#portable,
      constants: { K: random.below(6), F: random.below(9) - 4 },
      job: {
        groups,
        uniform: this.#uniform(),
        buffers: {
          xi: Int32Array.from({ length: 12 }, () => this.#integer()),
          xf: Float32Array.from({ length: 16 }, () => this.#float()),
          xu: Uint32Array.from({ length: 16 }, () => this.#integer()),
          out: new Uint32Array(total * ROW),
          outf: new Float32Array(total * ROW),
          total: new Uint32Array(4),
        },
      },
    };
  }

  #uniform(): Uint32Array {
    const words = new Uint32Array(28).map(() => this.#integer());
    const floats = new Float32Array(words.buffer);
    words[0] = this.#random.below(7);
    for (const i of [2, 4, 5, 6, 7]) floats[i] = this.#float();
    return words;
  }

  /** Small numbers mostly, and those at the ends of the range. */
  #integer(): number {
    const random = this.#random;
    return random.pick([
      random.below(8),
      random.below(100),
      random.below(8) - 4,
      random.word(),
      0x80000000,
      0x7fffffff,
      0xffffffff,
    ]);
  }

  #float(): number {
    const random = this.#random;
    if (this.#portable) return random.below(41) - 20;
    return random.pick([
      random.below(9) - 4,
      (random.below(2001) - 1000) / 16,
      Math.fround(Math.random() * 0 + (random.word() / 2 ** 31 - 1) * 30),
      random.below(2000000) - 1000000,
      0,
    ]);
  }

  // ---- Declarations

  #name(prefix: string): string {
    return `${prefix}${this.#counter++}`;
  }

  #type(): string {
    const random = this.#random;
    return vector(
      random.pick(SCALARS),
      random.chance(0.6) ? 1 : 2 + random.below(3),
    );
  }

  #globals(): Node[] {
    // One of each scalar type at least, so that there is always something that is no constant.
    const types = [
      ...SCALARS,
      ...Array.from({ length: 2 + this.#random.below(5) }, () => this.#type()),
      ...this.#calm ? [] : ARRAYS.filter(() => this.#random.chance(0.4)),
      ...this.#calm || this.#random.chance(0.6) ? [] : ["S"],
    ];
    return types.map((type) => {
      const name = this.#name("g");
      const initial = isArray(type) || type === "S"
        ? []
        : [" = ", this.#literal(type)];
      this.#names.push({ name, type, writable: true });
      return statement(`var<private> ${name}: ${type}`, ...initial, ";\n");
    });
  }

  #function(): Node {
    const random = this.#random;
    const outer = this.#names;
    this.#names = this.#names.slice();
    const name = this.#name("h");
    const parameters = Array.from({ length: random.below(4) }, () => {
      const pointer = random.chance(0.3);
      const type = pointer && !this.#calm && random.chance(0.3)
        ? random.pick(ARRAYS)
        : this.#type();
      return { type, pointer, name: this.#name("p") };
    });
    for (const { name, type, pointer } of parameters) {
      this.#names.push(
        pointer
          ? { name: `(*${name})`, type, writable: true }
          : { name, type, writable: false },
      );
    }
    const result = this.#type();
    this.#result = result;
    this.#changes = parameters.some((p) => p.pointer);
    const list = parameters.map((p) =>
      `${p.name}: ${p.pointer ? `ptr<function, ${p.type}>` : p.type}`
    );
    const body = this.#statements(1 + random.below(4), 2);
    const last = this.#expression(result, 2);
    this.#names = outer;
    this.#functions.push({
      name,
      parameters,
      result,
      pure: !this.#changes,
    });
    this.#result = null;
    return statement(
      `fn ${name}(${list.join(", ")}) -> ${result} {\n`,
      body,
      "return ",
      last,
      ";\n}\n",
    );
  }

  #main(): Node {
    const random = this.#random;
    this.#inMain = true;
    for (const name of ["wg", "grid", "local", "id"]) {
      this.#names.push({ name, type: "vec3u", writable: false });
    }
    this.#names.push({ name: "lane", type: "u32", writable: false });
    const parts: Node[] = [];
    const waits = !this.#calm && random.chance(0.3) ? 1 + random.below(3) : 0;
    this.#mayReturn = waits === 0;
    for (let i = 0; i < waits; i++) {
      parts.push(this.#statements(1 + random.below(3), 3));
      parts.push(this.#exchange());
    }
    this.#mayReturn = true;
    const depth = this.#calm ? 2 : MAIN_DEPTH;
    parts.push(this.#statements(2 + random.below(6), depth, true));
    for (const { name, type } of this.#names) {
      if (widthOf(type) > 1 || SCALARS.includes(type as Scalar)) {
        parts.push(this.#write(reading(type, name)));
      }
    }
    return statement(...parts);
  }

  /** Writes to the workgroup, waits, reads another invocation's part, and waits again. */
  #exchange(): Node {
    const random = this.#random;
    const name = this.#name("t");
    const put = this.#expression(TILE, 3);
    const other = `(lane + ${random.below(9)}u) % ${this.#invocations}u`;
    const swap = statement(
      "tile[lane] = ",
      put,
      ";\nworkgroupBarrier();\n",
      `${name} = tile[${other}];\nworkgroupBarrier();\n`,
    );
    const around = random.pick(["", "if", "loop"]);
    const uniform = random.pick(["p.n", "wg.x", "K", "grid.x"]);
    this.#names.push({ name, type: TILE, writable: true });
    const declared = statement(`var ${name}: ${TILE};\n`);
    if (around === "if") {
      return statement(declared, `if ${uniform} > 1u {\n`, swap, "}\n");
    }
    if (around === "loop") {
      const counter = this.#name("r");
      const inner = this.#statements(1, 2);
      const stop = random.chance(0.5)
        ? statement(`if ${counter} == p.n { break; }\n`)
        : statement();
      return statement(
        declared,
        `for (var ${counter} = 0u; ${counter} < min(${uniform}, 3u); ${counter}++) {\n`,
        swap,
        stop,
        inner,
        "}\n",
      );
    }
    return statement(declared, swap);
  }

  // ---- Statements

  /** `open`: the names that they declare go on after them. */
  #statements(count: number, depth: number, open = false): Node {
    const outer = this.#names;
    if (!open) this.#names = outer.slice();
    const all = Array.from({ length: count }, () => this.#statement(depth));
    if (!open) this.#names = outer;
    return statement(...all);
  }

  #block(depth: number, more: readonly Node[] = []): Node {
    const outer = this.#names;
    this.#names = outer.slice();
    const body = this.#statements(1 + this.#random.below(3), depth - 1);
    this.#names = outer;
    return statement("{\n", ...more, body, "}\n");
  }

  #statement(depth: number): Node {
    const random = this.#random;
    const kinds = [
      () => this.#declare(),
      () => this.#declare(),
      () => this.#assign(),
      () => this.#assign(),
      () => this.#assign(),
      () => this.#compound(),
      () => this.#compound(),
      () => this.#callStatement(),
    ];
    if (this.#inMain && !this.#calm) {
      kinds.push(() => this.#write(this.#expression(this.#type(), 3)));
      kinds.push(() => this.#atomic());
    }
    if (depth > 0) {
      kinds.push(
        () => this.#if(depth),
        () => this.#if(depth),
        () => this.#switch(depth),
        () => this.#block(depth),
      );
      if (this.#loops < 3) {
        kinds.push(
          () => this.#for(depth),
          () => this.#for(depth),
          () => this.#while(depth),
          () => this.#loop(depth),
        );
      }
    }
    return random.pick(kinds)();
  }

  #declare(): Node {
    const random = this.#random;
    const name = this.#name("v");
    const writable = random.chance(0.7);
    if (!this.#calm && random.chance(0.15)) {
      const type = random.pick([...ARRAYS, "S"]);
      const initial = random.chance(0.5) ? [" = ", this.#composite(type)] : [];
      const node = statement(`var ${name}: ${type}`, ...initial, ";\n");
      this.#names.push({ name, type, writable: true });
      return node;
    }
    const targets = this.#places().filter((p) => !p.includes("."));
    if (!this.#portable && targets.length > 0 && random.chance(0.08)) {
      // A pointer keeps to its place, whatever happens to the index.
      const [place, type] = this.#place(true);
      const node = statement(`let ${name} = &`, place, ";\n");
      this.#names.push({ name: `(*${name})`, type, writable: true });
      return node;
    }
    const type = this.#type();
    // Deno 2.9 dies where a lane of a constant `let` is taken beside an override.
    const value = this.#portable && !writable
      ? this.#variable(type, 4)
      : this.#expression(type, 4);
    this.#names.push({ name, type, writable });
    return statement(`${writable ? "var" : "let"} ${name} = `, value, ";\n");
  }

  /** Names of variables. */
  #places(): string[] {
    return this.#names.filter((n) => n.writable).map((n) => n.name);
  }

  /** Something that can be assigned to, and its type. A whole one may have a pointer. */
  #place(whole = false): [place: Node, type: string] {
    const random = this.#random;
    const variable = random.pick(this.#names.filter((n) => n.writable));
    if (/^g|\(/.test(variable.name)) this.#changes = true;
    let place = reading(variable.type, variable.name), type = variable.type;
    if (type === "S" && random.chance(0.8)) {
      const member = random.pick(["a", "b", "c", "d"] as const);
      type = MEMBERS[member];
      place = reading(type, place, `.${member}`);
    }
    if (isArray(type) && (whole || random.chance(0.9))) {
      const [element, count] = arrayOf(type);
      place = reading(element, place, "[", this.#index(count), "]");
      type = element;
    }
    const width = widthOf(type);
    if (width > 1 && !whole && random.chance(0.4)) {
      type = scalarOf(type);
      place = random.chance(0.5)
        ? reading(type, place, `.${"xyzw"[random.below(width)]}`)
        : reading(type, place, "[", this.#index(width), "]");
    }
    return [place, type];
  }

  /** An index into something of known length. */
  #index(count: number): Node {
    const random = this.#random;
    if (random.chance(0.3)) return expression("u32", `${random.below(count)}`);
    const type = random.pick(["u32", "i32"]);
    const e = this.#variable(type, 2);
    if (!this.#portable && random.chance(0.5)) return e;
    return type === "u32"
      ? expression(type, "(", e, ` % ${count}u)`)
      : expression(type, "((", e, ` & 63) % ${count})`);
  }

  #assign(): Node {
    const [place, type] = this.#place();
    const value = isArray(type) || type === "S"
      ? this.#composite(type)
      : this.#expression(type, 4);
    return statement(place, " = ", value, ";\n");
  }

  #compound(): Node {
    const random = this.#random;
    const [place, type] = this.#place();
    if (isArray(type) || type === "S" || scalarOf(type) === "bool") {
      return this.#assign();
    }
    const scalar = scalarOf(type);
    if (scalar === "f32") {
      const op = random.pick(["+=", "-=", "*="]);
      const value = this.#limited(this.#expression(type, 2));
      // Whatever grows in a loop is cut back. The index of the place has no effects.
      return statement(
        place,
        ` ${op} `,
        value,
        ";\n",
        place,
        " = ",
        this.#limited(place),
        ";\n",
      );
    }
    if (widthOf(type) === 1 && random.chance(0.2)) {
      return statement(place, random.pick(["++", "--"]), ";\n");
    }
    const op = random.pick([
      "+",
      "-",
      "*",
      "/",
      "%",
      "&",
      "|",
      "^",
      "<<",
      ">>",
    ]);
    const shifts = op === "<<" || op === ">>";
    const amount = shifts ? vector("u32", widthOf(type)) : type;
    const value = this.#operand(op, amount, this.#variable(amount, 2));
    return statement(place, ` ${op}= `, value, ";\n");
  }

  /** The right side of an operator. */
  #operand(op: string, type: string, value: Node): Node {
    if ((op === "<<" || op === ">>") && this.#portable) {
      return expression(type, "(", value, ` & ${type}(31u))`);
    }
    return value;
  }

  #callStatement(): Node {
    const random = this.#random;
    const usable = this.#functions;
    if (usable.length === 0) return this.#assign();
    const f = random.pick(usable);
    const call = this.#call(f, 2);
    if (!call) return this.#assign();
    if (!f.pure) this.#changes = true;
    if (random.chance(0.3)) return statement("_ = ", call, ";\n");
    const name = this.#name("v");
    this.#names.push({ name, type: f.result, writable: true });
    return statement(`var ${name} = `, call, ";\n");
  }

  /** A call; null if there is nothing to point to. */
  #call(f: Func, depth: number): Node | null {
    const args: (string | Node)[] = [];
    const pointed = new Set<string>();
    for (const { type, pointer } of f.parameters) {
      if (args.length > 0) args.push(", ");
      if (!pointer) args.push(this.#expression(type, depth));
      else {
        // Two pointers to one variable would be aliases; so would one to a global.
        const targets = this.#names.filter((n) =>
          n.type === type && n.writable && /^[vt]/.test(n.name) &&
          !pointed.has(n.name)
        );
        if (targets.length === 0) return null;
        const { name } = this.#random.pick(targets);
        pointed.add(name);
        args.push(`&${name}`);
      }
    }
    return reading(f.result, `${f.name}(`, ...args, ")");
  }

  /** Bits of a value go to a place of the invocation's own. */
  #write(value: Node): Node {
    const { type } = value;
    if (widthOf(type) > 1) {
      const scalar = scalarOf(type);
      const lane = `.${"xyzw"[this.#random.below(widthOf(type))]}`;
      return this.#write(reading(scalar, "(", value, ")", lane));
    }
    const at = ["[row + (", this.#expression("u32", 2), `) % ${ROW}u] = `];
    switch (type) {
      case "f32":
        return statement("outf", ...at, value, ";\n");
      case "u32":
        return statement("out", ...at, value, ";\n");
      case "bool":
        return statement("out", ...at, "select(0u, 7u, ", value, ");\n");
      default:
        return statement("out", ...at, "bitcast<u32>(", value, ");\n");
    }
  }

  #atomic(): Node {
    const { name, at } = this.#random.pick([
      { name: "Add", at: 0 },
      { name: "Max", at: 1 },
      { name: "Xor", at: 2 },
      { name: "Or", at: 3 },
    ]);
    const value = this.#expression("u32", 2);
    return statement(`atomic${name}(&total[${at}], `, value, ");\n");
  }

  #if(depth: number): Node {
    const random = this.#random;
    const condition = this.#expression("bool", 3);
    const then = this.#block(depth, this.#jump());
    if (random.chance(0.5)) return statement("if ", condition, " ", then);
    const otherwise = this.#block(depth, this.#jump());
    return statement("if ", condition, " ", then, "else ", otherwise);
  }

  /** Sometimes a statement that leaves what is around it; what follows it stands in an `if`. */
  #jump(): Node[] {
    const random = this.#random;
    const jumps: Node[] = [];
    if (this.#loops > 0) {
      jumps.push(statement("break;\n"));
      if (this.#switches === 0) jumps.push(statement("continue;\n"));
    }
    if (this.#result) {
      jumps.push(
        statement("return ", this.#expression(this.#result, 2), ";\n"),
      );
    } else if (this.#inMain && this.#mayReturn) {
      jumps.push(statement("return;\n"));
    }
    if (jumps.length === 0 || random.chance(this.#calm ? 0.95 : 0.7)) return [];
    return [
      statement(
        "if ",
        this.#expression("bool", 2),
        " {\n",
        random.pick(jumps),
        "}\n",
      ),
    ];
  }

  #switch(depth: number): Node {
    const random = this.#random;
    const type = random.pick(["i32", "u32"]);
    const suffix = type === "u32" ? "u" : "";
    const selector = random.chance(0.7)
      ? expression(type, "(", this.#variable(type, 2), ` & 3${suffix})`)
      : this.#variable(type, 2);
    const values = [0, 1, 2, 3, 7].filter(() => random.chance(0.6));
    const fallback = random.below(values.length + 1);
    const cases: Node[] = [];
    this.#switches++;
    const loops = this.#loops;
    for (let i = 0; i <= values.length; i++) {
      const labels = [];
      if (i < values.length) labels.push(`${values[i]}${suffix}`);
      if (i === fallback) labels.push("default");
      if (labels.length === 0) continue;
      this.#loops = Math.max(1, loops); // a break leaves the switch
      cases.push(
        statement(
          `case ${labels.join(", ")}: `,
          this.#block(depth, this.#jump()),
        ),
      );
    }
    this.#loops = loops;
    this.#switches--;
    if (fallback > values.length) throw new RangeError();
    return statement("switch ", selector, " {\n", ...cases, "}\n");
  }

  #inLoop(body: () => Node): Node {
    const switches = this.#switches;
    this.#switches = 0;
    this.#loops++;
    const node = body();
    this.#loops--;
    this.#switches = switches;
    return node;
  }

  #bound(type: string): Node {
    const random = this.#random;
    const suffix = type === "u32" ? "u" : "";
    return random.chance(this.#calm ? 0.9 : 0.5)
      ? expression(type, `${random.below(6)}${suffix}`)
      : expression(type, "min(", this.#variable(type, 1), `, 5${suffix})`);
  }

  #for(depth: number): Node {
    const random = this.#random;
    const name = this.#name("k");
    const type = random.pick(["i32", "u32"]);
    const suffix = type === "u32" ? "u" : "";
    const outer = this.#names;
    const bound = this.#bound(type);
    this.#names = [...outer, { name, type, writable: false }];
    const start = `var ${name} = `;
    const header = random.pick([
      [`${start}0${suffix}; ${name} < `, bound, `; ${name}++`],
      [`${start}1${suffix}; ${name} <= `, bound, `; ${name} += 2${suffix}`],
      [`${start}`, bound, `; ${name} > 0${suffix}; ${name} -= 1${suffix}`],
      [`${start}1${suffix}; ${name} < 20${suffix}; ${name} *= 3${suffix}`],
      [`${start}1${suffix}; ${name} < 9${suffix}; ${name} += ${name}`],
      [
        `${start}-3; ${name} != `,
        expression("i32", "abs(", bound, " % 4)"),
        `; ${name}++`,
      ],
    ].slice(0, type === "i32" ? 6 : 5));
    const body = this.#inLoop(() => this.#block(depth, this.#jump()));
    this.#names = outer;
    return statement("for (", ...header, ") ", body);
  }

  #while(depth: number): Node {
    const name = this.#name("w");
    const bound = this.#bound("u32");
    const outer = this.#names;
    this.#names = [...outer, { name, type: "u32", writable: false }];
    const body = this.#inLoop(() =>
      this.#block(depth, [statement(`${name}++;\n`), ...this.#jump()])
    );
    this.#names = outer;
    return statement(
      `var ${name} = 0u;\nwhile ${name} < `,
      bound,
      " ",
      body,
    );
  }

  #loop(depth: number): Node {
    const name = this.#name("w");
    const outer = this.#names;
    this.#names = [...outer, { name, type: "u32", writable: false }];
    const bound = this.#bound("u32");
    const body = this.#inLoop(() =>
      this.#statements(1 + this.#random.below(2), depth - 1)
    );
    const jump = this.#inLoop(() => statement(...this.#jump()));
    const stop = this.#random.chance(0.5)
      ? ["break if ", `${name} >= `, bound, ";\n"]
      : [];
    const leave = stop.length > 0
      ? statement()
      : statement(`if ${name} >= `, bound, " { break; }\n");
    const more = this.#random.chance(0.3) ? this.#compound() : statement();
    this.#names = outer;
    return statement(
      `var ${name} = 0u;\nloop {\n`,
      leave,
      jump,
      body,
      `continuing {\n${name} += 1u;\n`,
      more,
      ...stop,
      "}\n}\n",
    );
  }

  // ---- Expressions

  #composite(type: string): Node {
    const same = this.#names.filter((n) => n.type === type);
    if (same.length > 0 && this.#random.chance(0.4)) {
      return reading(type, this.#random.pick(same).name);
    }
    if (this.#random.chance(0.2)) return expression(type, `${type}()`);
    const types = type === "S"
      ? Object.values(MEMBERS)
      : Array<string>(arrayOf(type)[1]).fill(arrayOf(type)[0]);
    const parts = types.flatMap((t, i) => [
      ...i > 0 ? [", "] : [],
      isArray(t) ? this.#composite(t) : this.#expression(t, 2),
    ]);
    return expression(type, `${type}(`, ...parts, ")");
  }

  #literal(type: string): Node {
    const random = this.#random;
    if (widthOf(type) > 1) {
      const scalar = scalarOf(type);
      if (random.chance(0.3)) {
        return expression(type, `${type}(`, this.#literal(scalar), ")");
      }
      const parts = Array.from({ length: widthOf(type) }, (_, i) => [
        ...i > 0 ? [", "] : [],
        this.#literal(scalar),
      ]).flat();
      return expression(type, `${type}(`, ...parts, ")");
    }
    switch (type) {
      case "i32":
        return expression(type, `i32(${this.#integer() | 0})`);
      case "u32":
        return expression(type, `${this.#integer() >>> 0}u`);
      case "f32":
        return expression(type, `f32(${Math.fround(this.#float())})`);
      default:
        return expression(type, random.pick(["true", "false"]));
    }
  }

  /** An expression that is no constant. */
  #variable(type: string, depth: number): Node {
    const e = this.#expression(type, depth);
    return e.constant ? this.#read(type) : e;
  }

  /** The value of some variable. */
  #read(type: string): Node {
    const same = this.#names.filter((n) => n.type === type);
    if (same.length > 0) return reading(type, this.#random.pick(same).name);
    // There is one of each scalar type.
    return reading(type, `${type}(`, this.#read(scalarOf(type)), ")");
  }

  #expression(type: string, depth: number): Node {
    const random = this.#random;
    if (depth <= 0 || random.chance(0.15)) {
      return random.chance(0.3) ? this.#literal(type) : this.#read(type);
    }
    if (random.chance(0.12)) return this.#load(type);
    if (random.chance(0.1)) {
      const f = this.#functions.filter((f) =>
        f.result === type && (f.pure || !this.#portable)
      );
      const called = f.length > 0 ? random.pick(f) : null;
      const call = called && this.#call(called, depth - 1);
      if (call) {
        if (!called.pure) this.#changes = true;
        return call;
      }
    }
    if (random.chance(0.08)) {
      return expression(
        type,
        "select(",
        this.#expression(type, depth - 1),
        ", ",
        this.#expression(type, depth - 1),
        ", ",
        this.#variable(
          random.chance(0.5) ? "bool" : vector("bool", widthOf(type)),
          depth - 1,
        ),
        ")",
      );
    }
    const width = widthOf(type), scalar = scalarOf(type);
    if (width > 1 && random.chance(0.25)) return this.#construct(type, depth);
    if (width < 4 && random.chance(0.12)) {
      const from = vector(scalar, 2 + random.below(3));
      const base = this.#variable(from, depth - 1);
      if (width === 1 && random.chance(0.4)) {
        const index = this.#index(widthOf(from));
        return expression(type, "(", base, ")[", index, "]");
      }
      const lanes = Array.from(
        { length: width },
        () => "xyzw"[random.below(widthOf(from))],
      );
      return expression(type, "(", base, ").", lanes.join(""));
    }
    switch (scalar) {
      case "f32":
        return this.#floatExpression(type, depth);
      case "bool":
        return this.#boolExpression(type, depth);
      default:
        return this.#integerExpression(type, depth);
    }
  }

  /** Something in memory. */
  #load(type: string): Node {
    const random = this.#random;
    const inRange = (count: number) => this.#index(count);
    const uniforms: Record<string, string> = {
      u32: "p.n",
      i32: "p.i",
      f32: "p.f",
      vec4f: "p.v",
      vec3u: "p.w",
    };
    const choices: Node[] = [];
    if (uniforms[type]) choices.push(reading(type, uniforms[type]!));
    // Overrides are constants to the checker.
    if (type === "u32") {
      choices.push(expression(type, "K"), reading(type, "p.w.y"));
    }
    if (type === "f32") {
      choices.push(expression(type, "F"), reading(type, "p.v.z"));
    }
    if (type === "i32") choices.push(reading(type, "xi[", inRange(12), "]"));
    if (type === "f32") {
      choices.push(
        reading(type, "xf[", inRange(4), "]", `.${random.pick(["x", "w"])}`),
        reading(type, "xf[", inRange(4), "][", inRange(4), "]"),
      );
    }
    if (type === "vec4f") choices.push(reading(type, "xf[", inRange(4), "]"));
    if (type === "vec2u") choices.push(reading(type, "xu[", inRange(8), "]"));
    if (type === "vec4i") choices.push(reading(type, "p.a[", inRange(3), "]"));
    if (type === "u32") {
      choices.push(
        reading(
          type,
          `arrayLength(&${random.pick(["xi", "xf", "xu"])})`,
        ),
      );
      if (this.#inMain) {
        choices.push(
          reading(type, "out[row + ", this.#variable(type, 1), ` % ${ROW}u]`),
        );
      }
    }
    for (const n of this.#names) {
      if (isArray(n.type) && arrayOf(n.type)[0] === type) {
        choices.push(
          reading(type, `${n.name}[`, inRange(arrayOf(n.type)[1]), "]"),
        );
      }
      if (n.type !== "S") continue;
      for (const [member, t] of Object.entries(MEMBERS)) {
        if (t === type) choices.push(reading(type, `${n.name}.${member}`));
        if (isArray(t) && arrayOf(t)[0] === type) {
          choices.push(reading(type, `${n.name}.${member}[`, inRange(3), "]"));
        }
      }
    }
    return choices.length > 0 ? random.pick(choices) : this.#read(type);
  }

  #construct(type: string, depth: number): Node {
    const random = this.#random;
    const scalar = scalarOf(type), width = widthOf(type);
    if (random.chance(0.2)) {
      return expression(
        type,
        `${type}(`,
        this.#expression(scalar, depth - 1),
        ")",
      );
    }
    const parts: (string | Node)[] = [];
    for (let left = width; left > 0;) {
      const take = random.chance(0.7) || left === 1
        ? 1
        : Math.min(left, 2 + random.below(2));
      if (take === width) continue;
      if (parts.length > 0) parts.push(", ");
      parts.push(this.#expression(vector(scalar, take), depth - 1));
      left -= take;
    }
    return expression(type, `${type}(`, ...parts, ")");
  }

  #boolExpression(type: string, depth: number): Node {
    const random = this.#random;
    const width = widthOf(type);
    const inner = (t: string) => this.#variable(t, depth - 1);
    const kind = random.below(10);
    if (kind < 5) {
      const of = vector(random.pick(["i32", "u32", "f32"]), width);
      const op = random.pick(["==", "!=", "<", "<=", ">", ">="]);
      return expression(type, "(", inner(of), ` ${op} `, inner(of), ")");
    }
    if (kind === 5) return expression(type, "!(", inner(type), ")");
    if (kind === 6) {
      const of = vector(random.pick(["i32", "u32", "f32"]), width);
      return expression(type, `${type}(`, inner(of), ")");
    }
    if (kind === 7 && width === 1) {
      const of = vector("bool", 2 + random.below(3));
      const name = random.pick(["all", "any"]);
      return expression(type, `${name}(`, inner(of), ")");
    }
    const op = random.pick([
      "&",
      "|",
      "==",
      "!=",
      ...width === 1 ? ["&&", "||", "&&", "||"] : [],
    ]);
    return expression(type, "(", inner(type), ` ${op} `, inner(type), ")");
  }

  #integerExpression(type: string, depth: number): Node {
    const random = this.#random;
    const scalar = scalarOf(type), width = widthOf(type);
    const same = () => this.#variable(type, depth - 1);
    const other = (s: Scalar) => this.#variable(vector(s, width), depth - 1);
    const kind = random.below(20);
    if (kind < 8) {
      const op = random.pick(["+", "-", "*", "/", "%", "&", "|", "^"]);
      return expression(type, "(", same(), ` ${op} `, same(), ")");
    }
    if (kind < 10) {
      const op = random.pick(["<<", ">>"]);
      const by = this.#operand(op, vector("u32", width), other("u32"));
      return expression(type, "(", same(), ` ${op} `, by, ")");
    }
    if (kind === 10) {
      const op = scalar === "i32" ? random.pick(["-", "~"]) : "~";
      return expression(type, `${op}(`, same(), ")");
    }
    if (kind === 11) {
      const from = other(scalar === "i32" ? "u32" : "i32");
      return random.chance(0.5)
        ? expression(type, `${type}(`, from, ")")
        : expression(type, `bitcast<${type}>(`, from, ")");
    }
    if (kind === 12) return expression(type, `${type}(`, other("f32"), ")");
    if (kind === 13) return expression(type, `${type}(`, other("bool"), ")");
    if (kind === 14 && width === 1) {
      const of = vector(scalar, 2 + random.below(3));
      const inner = () => this.#variable(of, depth - 1);
      return expression(type, "dot(", inner(), ", ", inner(), ")");
    }
    if (kind === 15) {
      // Bits past the word are an error where they are constants.
      const u = () =>
        expression(
          "u32",
          "(",
          this.#variable("u32", 1),
          ` % ${random.pick([17, 40])}u)`,
        );
      const far = !this.#portable;
      const at = far
        ? u()
        : expression("u32", "(", this.#variable("u32", 1), " % 17u)");
      const count = far
        ? u()
        : expression("u32", "(", this.#variable("u32", 1), " % 16u)");
      return random.chance(0.5)
        ? expression(type, "extractBits(", same(), ", ", at, ", ", count, ")")
        : expression(
          type,
          "insertBits(",
          same(),
          ", ",
          same(),
          ", ",
          at,
          ", ",
          count,
          ")",
        );
    }
    if (kind === 16 && width === 1) {
      if (scalar === "i32") {
        const u = () => this.#variable("u32", depth - 1);
        return expression(type, "dot4I8Packed(", u(), ", ", u(), ")");
      }
      const [name, of] = random.pick([
        ["pack4xI8", "vec4i"],
        ["pack4xU8", "vec4u"],
        ["pack4xI8Clamp", "vec4i"],
        ["pack4xU8Clamp", "vec4u"],
      ]);
      return expression(type, `${name}(`, this.#variable(of!, depth - 1), ")");
    }
    if (kind === 16 && width === 4) {
      const name = scalar === "i32" ? "unpack4xI8" : "unpack4xU8";
      return expression(
        type,
        `${name}(`,
        this.#variable("u32", depth - 1),
        ")",
      );
    }
    if (kind === 17) {
      return expression(
        type,
        "clamp(",
        same(),
        ", ",
        same(),
        ", ",
        same(),
        ")",
      );
    }
    if (kind === 18) {
      const name = random.pick(["min", "max"]);
      return expression(type, `${name}(`, same(), ", ", same(), ")");
    }
    const name = random.pick([
      "abs",
      "countOneBits",
      "countLeadingZeros",
      "countTrailingZeros",
      "firstLeadingBit",
      "firstTrailingBit",
      "reverseBits",
      ...scalar === "i32" ? ["sign"] : [],
    ]);
    return expression(type, `${name}(`, same(), ")");
  }

  /** A float cut back to where sums and products of a few stay finite. */
  #limited(e: Node): Node {
    const most = this.#portable ? 1024 : 1000000;
    return expression(
      e.type,
      "clamp(",
      e,
      `, ${e.type}(-${most}), ${e.type}(${most}))`,
    );
  }

  #floatExpression(type: string, depth: number): Node {
    const random = this.#random;
    const width = widthOf(type);
    const same = () => this.#variable(type, depth - 1);
    const other = (s: Scalar) => this.#variable(vector(s, width), depth - 1);
    const kind = random.below(14);
    if (kind < 5) {
      const op = random.pick(["+", "-", "*", "*"]);
      return this.#limited(
        expression(type, "(", same(), ` ${op} `, same(), ")"),
      );
    }
    if (kind === 5) return expression(type, "-(", same(), ")");
    if (kind === 6) {
      const from = other(random.pick(["i32", "u32", "bool"]));
      return this.#limited(expression(type, `${type}(`, from, ")"));
    }
    if (kind === 7) {
      const name = random.pick(["min", "max", "step"]);
      return expression(type, `${name}(`, same(), ", ", same(), ")");
    }
    if (kind === 8) {
      return this.#limited(
        expression(type, "fma(", same(), ", ", same(), ", ", same(), ")"),
      );
    }
    if (kind === 9 && width === 1) {
      const of = vector("f32", 2 + random.below(3));
      const inner = () => this.#variable(of, depth - 1);
      return this.#limited(
        expression(type, "dot(", inner(), ", ", inner(), ")"),
      );
    }
    if (kind === 10) {
      return this.#limited(
        expression(type, "mix(", same(), ", ", same(), ", ", same(), ")"),
      );
    }
    if (kind === 11 && !this.#portable) {
      const divisor = expression(type, "(abs(", same(), `) + ${type}(0.5))`);
      const op = random.pick(["/", "/", "%"]);
      return this.#limited(
        expression(type, "(", same(), ` ${op} `, divisor, ")"),
      );
    }
    if (kind === 12 && !this.#portable) {
      return expression(type, "sqrt(abs(", same(), "))");
    }
    if (kind === 13 && width === 3) {
      return this.#limited(
        expression(type, "cross(", same(), ", ", same(), ")"),
      );
    }
    const name = random.pick([
      "abs",
      "ceil",
      "floor",
      "trunc",
      "round",
      "sign",
      "saturate",
      "fract",
    ]);
    return expression(type, `${name}(`, same(), ")");
  }
}

/** How deep statements are nested. */
const MAIN_DEPTH = 3;

/** What invocations of a workgroup hand to each other. */
const TILE = "vec2i";

const HEAD = `struct P {
  n: u32, i: i32, f: f32, v: vec4f, w: vec3u, a: array<vec4i, 3>
}
struct S { ${
  Object.entries(MEMBERS).map(([name, type]) => `${name}: ${type}`).join(", ")
} }
override K: u32;
override F: f32;
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> xi: array<i32>;
@group(0) @binding(2) var<storage, read> xf: array<vec4f>;
@group(0) @binding(3) var<storage, read> xu: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
@group(0) @binding(5) var<storage, read_write> outf: array<f32>;
@group(0) @binding(6) var<storage, read_write> total: array<atomic<u32>, 4>;
`;

/** The program of a seed. */
export function generate(seed: number, options: Options): Generated {
  return new Generator(seed, options).run();
}
