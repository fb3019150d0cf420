/**
 * Where control goes after a statement, by the rules of the specification ("behavior analysis").
 *
 * @module
 */
import { fail } from "./error.ts";
import type { Statement } from "./tree.ts";

/** How statements may end: by going on, or by leaving a switch or loop, a turn, the function. */
export interface Ways {
  readonly next: boolean;
  readonly break: boolean;
  readonly continue: boolean;
  readonly return: boolean;
}

const NOWHERE: Ways = {
  next: false,
  break: false,
  continue: false,
  return: false,
};
const NEXT: Ways = { ...NOWHERE, next: true };

function either(a: Ways, b: Ways): Ways {
  return {
    next: a.next || b.next,
    break: a.break || b.break,
    continue: a.continue || b.continue,
    return: a.return || b.return,
  };
}

/** How a list of statements may end. */
export function waysOf(statements: readonly Statement[]): Ways {
  let ways = NEXT;
  for (const statement of statements) {
    if (!ways.next) break; // what follows is never reached
    ways = either({ ...ways, next: false }, waysOfOne(statement));
  }
  return ways;
}

function waysOfOne(statement: Statement): Ways {
  switch (statement.op) {
    case "return":
    case "break":
    case "continue":
      return { ...NOWHERE, [statement.op]: true };
    case "block":
      return waysOf(statement.body);
    case "if":
      return either(waysOf(statement.then), waysOf(statement.else));
    case "switch": {
      const ways = statement.cases.map((one) => waysOf(one.body))
        .reduce(either, NOWHERE);
      return { ...ways, next: ways.next || ways.break, break: false };
    }
    case "for":
    case "loop": {
      const body = waysOf(statement.body);
      const ends = statement.op === "for"
        ? statement.condition !== null
        : statement.breakIf !== null;
      const next = ends || body.break;
      if (!next && !body.return) {
        fail("The loop never ends; add a break or a return", statement.at);
      }
      return { ...NOWHERE, next, return: body.return };
    }
    default:
      return NEXT;
  }
}
