/**
 * The typed tree of a WGSL program: what the checker makes of the text and the lowering reads.
 * Constants are folded, overrides have their values, conversions are explicit, names are resolved.
 *
 * @module
 */

/** A place in the source, both counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Types of which registers are made. */
export type ScalarName = "f32" | "i32" | "u32" | "bool";

/** One number or truth value. */
export interface ScalarType {
  readonly kind: "scalar";
  readonly scalar: ScalarName;
}

/** Two to four scalars. */
export interface VectorType {
  readonly kind: "vector";
  readonly scalar: ScalarName;
  readonly width: 2 | 3 | 4;
}

/** Elements one after another; without `count`, as many as the binding holds. */
export interface ArrayType {
  readonly kind: "array";
  readonly element: Type;
  readonly count: number | null;
  /** Bytes from one element to the next. */
  readonly stride: number;
}

/** Named members. A matrix (`mat4x4f`) is a struct of its columns. */
export interface StructType {
  readonly kind: "struct";
  readonly name: string;
  readonly members: readonly {
    readonly name: string;
    readonly type: Type;
    /** Bytes from the start of the struct. */
    readonly offset: number;
  }[];
  /** Bytes, rounded up to the alignment. */
  readonly size: number;
  readonly align: number;
}

/** An integer that invocations change without losing updates. */
export interface AtomicType {
  readonly kind: "atomic";
  readonly scalar: "i32" | "u32";
}

/** The place of a variable or a part of it. */
export interface PointerType {
  readonly kind: "pointer";
  readonly space: Space;
  readonly target: Type;
  /** Whether the place may be written through the pointer. */
  readonly access: "read" | "read_write";
}

/** Any type of a value or a variable. */
export type Type =
  | ScalarType
  | VectorType
  | ArrayType
  | StructType
  | AtomicType
  | PointerType;

/** Where a variable lives. */
export type Space =
  | "function"
  | "private"
  | "workgroup"
  | "uniform"
  | "storage";

/** What the machine tells an invocation about itself. */
export type InvocationBuiltin =
  | "local_invocation_id"
  | "local_invocation_index"
  | "global_invocation_id"
  | "workgroup_id"
  | "num_workgroups";

/** A name that holds a value: a `let`, a parameter, or a variable in memory. */
export interface Variable {
  readonly name: string;
  readonly type: Type;
  /** `let` and parameters are never assigned to; `var` may be. */
  readonly kind: "let" | "parameter" | "var";
  /** Of a `var`: where it lives. `function` otherwise. */
  readonly space: Space;
  /** Of a uniform or storage variable: `@binding(n)`. */
  readonly binding?: number;
  /** Of a storage variable. */
  readonly access?: "read" | "read_write";
  /** Initial value of a `private` variable; zero without. */
  readonly initial?: Expression;
  readonly at: Position;
}

/** A value. Places (variables, members, elements) are values where they are read. */
export type Expression =
  & (
    /** One number per lane; booleans as 0 and 1. Only scalars and vectors. */
    | { readonly op: "literal"; readonly values: readonly number[] }
    | { readonly op: "variable"; readonly variable: Variable }
    /** `index` counts the members of the struct. */
    | {
      readonly op: "member";
      readonly base: Expression;
      readonly index: number;
    }
    /** An element of an array or a vector. */
    | {
      readonly op: "index";
      readonly base: Expression;
      readonly index: Expression;
    }
    /** Lanes of a vector: one gives a scalar. As the target of an assignment it has one lane. */
    | {
      readonly op: "swizzle";
      readonly base: Expression;
      readonly lanes: readonly number[];
    }
    | {
      readonly op: "unary";
      readonly operator: "-" | "!" | "~";
      readonly operand: Expression;
    }
    /** Both sides have the same width (a scalar beside a vector is spread by a `construct`). */
    | {
      readonly op: "binary";
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
    | {
      readonly op: "call";
      readonly function: FunctionNode;
      readonly args: readonly Expression[];
    }
    /**
     * A function of the language, by its name; arguments as in the specification, all of the width
     * of the result (`mix`, `select`, `extractBits` with their scalars spread). A call without
     * result (a barrier, `atomicStore`, a function) stands in `evaluate` only; it has a type that
     * means nothing.
     */
    | {
      readonly op: "builtin";
      readonly name: string;
      readonly args: readonly Expression[];
    }
    /**
     * A vector from parts in order, or from one scalar for all lanes; an array or a struct from its
     * elements; without arguments the zero value.
     */
    | { readonly op: "construct"; readonly args: readonly Expression[] }
    /** From one scalar type to another, lane by lane: f32(u32) and the like. */
    | { readonly op: "convert"; readonly operand: Expression }
    | { readonly op: "bitcast"; readonly operand: Expression }
    /** `&place`. */
    | { readonly op: "address"; readonly place: Expression }
    /** `*pointer`. */
    | { readonly op: "deref"; readonly pointer: Expression }
  )
  & { readonly type: Type; readonly at: Position };

/** Operators between two values; `&&` and `||` evaluate the right side only if they must. */
export type BinaryOperator =
  | "+"
  | "-"
  | "*"
  | "/"
  | "%"
  | "&"
  | "|"
  | "^"
  | "<<"
  | ">>"
  | "&&"
  | "||"
  | "=="
  | "!="
  | "<"
  | "<="
  | ">"
  | ">=";

/** An instruction. */
export type Statement =
  & (
    /** A `let` or a `var` of the function; without `value` a `var` is zero. */
    | {
      readonly op: "declare";
      readonly variable: Variable;
      readonly value: Expression | null;
    }
    /** `target operator= value`, without operator a plain assignment. */
    | {
      readonly op: "assign";
      readonly target: Expression;
      readonly operator: BinaryOperator | null;
      readonly value: Expression;
    }
    /** A call or `_ = value`, for its effect. */
    | { readonly op: "evaluate"; readonly value: Expression }
    | {
      readonly op: "if";
      readonly condition: Expression;
      readonly then: readonly Statement[];
      readonly else: readonly Statement[];
    }
    /** No falling through; `values` empty marks the default. */
    | {
      readonly op: "switch";
      readonly selector: Expression;
      readonly cases: readonly {
        readonly values: readonly number[];
        readonly isDefault: boolean;
        readonly body: readonly Statement[];
      }[];
    }
    /** `for` and `while` (no init, no update). */
    | {
      readonly op: "for";
      readonly init: Statement | null;
      readonly condition: Expression | null;
      readonly update: Statement | null;
      readonly body: readonly Statement[];
    }
    | {
      readonly op: "loop";
      readonly body: readonly Statement[];
      readonly continuing: readonly Statement[];
      readonly breakIf: Expression | null;
    }
    | { readonly op: "block"; readonly body: readonly Statement[] }
    | { readonly op: "return"; readonly value: Expression | null }
    | { readonly op: "break" }
    | { readonly op: "continue" }
  )
  & { readonly at: Position };

/** A function. */
export interface FunctionNode {
  readonly name: string;
  readonly parameters: readonly Variable[];
  readonly result: Type | null;
  readonly body: readonly Statement[];
  readonly at: Position;
}

/** A compute entry point, checked, with everything it reaches. */
export interface Program {
  readonly entry: FunctionNode;
  /** What each parameter of the entry point is told, in its order. */
  readonly builtins: readonly InvocationBuiltin[];
  readonly workgroupSize: readonly [number, number, number];
  /** Uniform and storage variables that the entry point reaches, by binding. */
  readonly bindings: readonly Variable[];
  /** Private and workgroup variables that it reaches. */
  readonly globals: readonly Variable[];
}
