/**
 * The typed tree as a short text, so that tests can say what they expect.
 *
 * @module
 */
import type { Expression, Program, Statement } from "../../wgsl/tree.ts";
import { show } from "../../wgsl/types.ts";

/** An expression; types stand where the operation alone does not say them. */
export function showExpression(e: Expression): string {
  const list = (es: readonly Expression[]) => es.map(showExpression).join(", ");
  switch (e.op) {
    case "literal":
      return `${show(e.type)}:${e.values.join(":")}`;
    case "variable":
      return e.variable.name;
    case "member":
      return `${showExpression(e.base)}.${e.index}`;
    case "index":
      return `${showExpression(e.base)}[${showExpression(e.index)}]`;
    case "swizzle":
      return `${showExpression(e.base)}.${
        e.lanes.map((lane) => "xyzw"[lane]).join("")
      }`;
    case "unary":
      return `(${e.operator}${showExpression(e.operand)})`;
    case "binary":
      return `(${showExpression(e.left)} ${e.operator} ${
        showExpression(e.right)
      })`;
    case "call":
      return `${e.function.name}(${list(e.args)})`;
    case "builtin":
      return `@${e.name}(${list(e.args)})`;
    case "construct":
      return `${show(e.type)}{${list(e.args)}}`;
    case "convert":
    case "bitcast":
      return `${e.op}<${show(e.type)}>(${showExpression(e.operand)})`;
    case "address":
      return `&${showExpression(e.place)}`;
    case "deref":
      return `*${showExpression(e.pointer)}`;
  }
}

/** Statements, each on a line or in braces. */
export function showStatements(statements: readonly Statement[]): string {
  return statements.map(showStatement).join(" ");
}

function showStatement(s: Statement): string {
  const block = (body: readonly Statement[]) => `{ ${showStatements(body)} }`;
  switch (s.op) {
    case "declare": {
      const { kind, name, type } = s.variable;
      const value = s.value ? ` = ${showExpression(s.value)}` : "";
      return `${kind} ${name}: ${show(type)}${value};`;
    }
    case "assign":
      return `${showExpression(s.target)} ${s.operator ?? ""}= ${
        showExpression(s.value)
      };`;
    case "evaluate":
      return `${showExpression(s.value)};`;
    case "if":
      return `if ${showExpression(s.condition)} ${block(s.then)}${
        s.else.length > 0 ? ` else ${block(s.else)}` : ""
      }`;
    case "switch":
      return `switch ${showExpression(s.selector)} ${
        s.cases.map(({ values, isDefault, body }) =>
          `[${[...values, ...isDefault ? ["default"] : []]}] ${block(body)}`
        ).join(" ")
      }`;
    case "for":
      return `for (${s.init ? showStatement(s.init) : ";"} ${
        s.condition ? showExpression(s.condition) : ""
      }; ${s.update ? showStatement(s.update) : ""}) ${block(s.body)}`;
    case "loop":
      return `loop ${block(s.body)} continuing ${block(s.continuing)}${
        s.breakIf ? ` until ${showExpression(s.breakIf)}` : ""
      }`;
    case "block":
      return block(s.body);
    case "return":
      return `return${s.value ? ` ${showExpression(s.value)}` : ""};`;
    default:
      return `${s.op};`;
  }
}

/** The body of the entry point. */
export function showProgram({ entry }: Program): string {
  return showStatements(entry.body);
}
