import { VirstreamError } from "../../../model/error.ts";
import type { RecordReason } from "../../../model/record.ts";
import type { CallKind, Ticket } from "./admission.ts";
import type { Turn } from "./patience.ts";

/**
 * Where a domain stands. `list`: (not a domain) the listing is out. `lookup`: its name is being looked up. `ask`: its
 * statistics are wanted. `rescue`: it is late, what needs no monitor is wanted. `verify`: the daemon left it out of an
 * answer, is it there at all? `done`: it has its record, or needs none.
 */
export type Stage = "list" | "lookup" | "ask" | "rescue" | "verify" | "done";

/** One domain of the sweep. */
export class Task implements Ticket {
  readonly index: number;
  uuid: string;
  name: string;
  id: number;
  stage: Stage;
  kind: CallKind;
  waiting = false;
  /** Counts what was asked and given up, so that an answer to an earlier question is known as late. */
  attempt = 0;
  /** When the call in flight is overdue. */
  dueAt = Number.POSITIVE_INFINITY;
  /** When it was last asked, in ms since 1970 and on the monotonic clock; 0 before. */
  sampledAt = 0;
  askedAt = 0;
  /** Why it is late. */
  reason: RecordReason = "timeout";

  constructor(index: number, stage: Stage, kind: CallKind, uuid: string, name: string, id = -1) {
    this.index = index;
    this.stage = stage;
    this.kind = kind;
    this.uuid = uuid;
    this.name = name;
    this.id = id;
  }

  get turn(): Turn {
    if (this.stage === "rescue") return "rescue";
    return this.kind === "monitor" ? "slot" : "lane";
  }

  get key(): string {
    return this.stage === "list" || this.stage === "lookup" ? `${this.stage} ${this.name}` : this.uuid;
  }
}

/** The error of a domain that is given up where it stands. */
export function lateError(task: Task, deadlineMs: number): VirstreamError {
  const within = `within ${deadlineMs} ms`;
  const name = task.name || task.uuid;
  const what = {
    list: `libvirt did not list its domains ${within}: it waits for one of them`,
    lookup: `libvirt did not look up domain ${name} ${within}`,
    ask: `domain ${name} did not answer ${within}`,
    rescue: `domain ${name} did not answer ${within}, nor did libvirt say what needs no monitor`,
    verify: `libvirt did not say ${within} whether there is a domain ${name}`,
    done: `domain ${name} has its record`,
  };
  return new VirstreamError("deadline-exceeded", what[task.stage]);
}
