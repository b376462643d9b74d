import { VirstreamError } from "../../../model/error.ts";
import type { RecordReason } from "../../../model/record.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { Inquiry } from "./inquiry.ts";
import type { CallKind } from "./line.ts";
import type { Turn } from "./patience.ts";

/**
 * Where a domain stands. `lookup`: its name is being looked up. `check`: whether its monitor hangs already is being looked
 * at. `ask`: its statistics are wanted. `rescue`: it is late, or its statistics failed; what needs no monitor is wanted.
 * `verify`: the daemon left it out of an answer, is it there at all? `done`: it has its record, or needs none.
 */
export type Stage = "lookup" | "check" | "ask" | "rescue" | "verify" | "done";

/** One domain of the sweep. */
export class Task extends Inquiry implements RemoteDomain {
  readonly index: number;
  uuid: string;
  name: string;
  id: number;
  stage: Stage;
  /** Whether its statistics need the monitor. */
  readonly statsKind: CallKind;
  /** Why it is late, or has to make do with less. */
  reason: RecordReason = "timeout";
  /** What its statistics call was refused with. */
  error: VirstreamError | undefined;
  /** It was looked at, or is being looked at, and has not been asked. */
  ahead = false;
  /** Its monitor is busy with a job: its statistics are asked without waiting for the end of that. */
  hurried = false;

  constructor(index: number, stage: Stage, statsKind: CallKind, uuid: string, name: string, id = -1) {
    super();
    this.index = index;
    this.stage = stage;
    this.statsKind = statsKind;
    this.uuid = uuid;
    this.name = name;
    this.id = id;
  }

  get kind(): CallKind {
    return this.stage === "ask" ? this.statsKind : "free";
  }

  get turn(): Turn {
    if (this.stage === "rescue") return "rescue";
    return this.kind === "monitor" ? "slot" : "lane";
  }

  get key(): string {
    return this.stage === "lookup" ? `lookup ${this.name}` : this.uuid;
  }
}

/** The error of a domain that is given up where it stands. */
export function lateError(task: Task, deadlineMs: number): VirstreamError {
  const within = `within ${deadlineMs} ms`;
  const name = task.name || task.uuid;
  const what = {
    lookup: `libvirt did not look up domain ${name} ${within}`,
    check: `libvirt did not say ${within} whether domain ${name} can be asked: it may be starting, or being destroyed`,
    ask: `domain ${name} did not answer ${within}`,
    rescue: `domain ${name} did not answer ${within}, nor did libvirt say what needs no monitor`,
    verify: `libvirt did not say ${within} whether there is a domain ${name}`,
    done: `domain ${name} has its record`,
  };
  return new VirstreamError("deadline-exceeded", what[task.stage]);
}
