import type { DomainRates } from "../client/rates.ts";
import { ControlState, isMonitorBroken } from "../drivers/libvirt/rpc/procedures.ts";
import type { TypedParams } from "../model/params.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { isTrouble, type StateWords } from "../model/state.ts";
import { NIL_UUID } from "../model/uuid.ts";
import type { Diagnosis } from "../overview/diagnosis.ts";
import { meanSteal } from "../overview/figure.ts";
import { lasting } from "../overview/quantity.ts";
import { guestWord, shellWord } from "../overview/shell-word.ts";
import { slowestOf, slownessOf } from "../overview/slowness.ts";
import type { GuestEvidence } from "./guest-evidence.ts";
import { STUCK } from "./guests.ts";

/** The inputs of a diagnosis. */
export interface Case {
  /** The guest's newest record, and its rates over the time before this record. */
  readonly rates: DomainRates;
  /**
   * What libvirt and the system report about the guest. Left out if no libvirt can be asked: another virstream serves
   * the guest, or the guest is simulated.
   */
  readonly evidence?: GuestEvidence | undefined;
  /** How to call virsh for this host: `virsh -c qemu:///system`. */
  readonly virsh: string;
  /**
   * How long virstream itself has been asking the guest, in ms. A monitor that has been busy for longer is busy with
   * another client's call.
   */
  readonly askedForMs: number;
  /** True if the guest's host is simulated, so that there is no other evidence. Default false. */
  readonly isSimulated?: boolean;
  /**
   * Why the virstream server that has the guest did not examine the guest for this client; undefined if the server
   * gave no reason.
   */
  readonly refusal?: string | undefined;
}

/** A guest that uses this percentage of its memory, or more, has almost no memory left. */
const MEMORY_PERCENT = 95;

/** The words for virDomainJobOperation, by number. */
const OPERATIONS = [
  "a job",
  "its start",
  "a save",
  "a restore",
  "an incoming migration",
  "a migration",
  "a snapshot",
  "a return to a snapshot",
  "a dump",
  "a backup",
  "the deletion of a snapshot",
];

type Finding = Omit<Diagnosis, "domain" | "records">;

/** Says what is wrong with a guest. If several causes are possible, the first check that finds a cause decides. */
export function diagnose(it: Case): Diagnosis {
  const { record } = it.rates;
  const { status, missing, domain } = record;
  const unknown = notFound(record);
  if (unknown !== undefined) return unknown;
  const found = process(it) ?? monitor(it) ?? failed(it) ?? incomplete(it) ?? stopped(it) ?? slow(it);
  const records =
    status === "failed"
      ? "its records have no statistics"
      : status === "partial" && missing.length > 0
        ? `its records are partial: without ${missing.join(", ")}`
        : undefined;
  const evidence = [
    ...found.evidence,
    ...(it.refusal === undefined ? [] : [`its server does not say more: ${it.refusal}`]),
  ];
  return { domain, ...found, evidence, ...(records !== undefined && { records }) };
}

/**
 * The diagnosis of a guest that was not found: it does not exist, or it is not known whether it exists, because a host
 * that may have it did not answer. Undefined if the guest was found.
 */
export function notFound({ domain, status, error }: DomainStatsRecord): Diagnosis | undefined {
  const name = domain.name || domain.uuid;
  if (status === "gone") {
    return { domain, wrong: true, summary: `There is no guest ${name}.`, evidence: [], remedy: [] };
  }
  // The record of a guest that was found has a uuid and a host.
  if (domain.uuid !== NIL_UUID && domain.host !== "") return undefined;
  const evidence = error === undefined ? [] : [`${error.message} [${error.code}]`];
  return { domain, wrong: true, summary: `It is not known whether there is a guest ${name}.`, evidence, remedy: [] };
}

/** Looks at the QEMU process first: if the kernel does not run it, this explains everything else. */
function process({ rates: { record }, evidence }: Case): Finding | undefined {
  const { process } = evidence ?? {};
  const [, words, advice] = STUCK.find(([states]) => process !== undefined && states.includes(process.state)) ?? [];
  if (process === undefined || words === undefined || advice === undefined) return undefined;
  return {
    wrong: true,
    summary: `${who(record)} answers nothing: its QEMU process ${words}.`,
    evidence: [`QEMU process ${process.pid} is in state ${process.state}`],
    remedy: [advice.replace("PID", `${process.pid}`)],
  };
}

/**
 * Finds a cause in the guest's monitor: libvirt has lost the monitor, or a job runs in the guest, or the monitor is
 * busy and the record is incomplete.
 */
function monitor({ rates: { record }, evidence, virsh, askedForMs }: Case): Finding | undefined {
  const { control, job } = evidence ?? {};
  if (control === undefined) return undefined;
  const word = guestWord(record.domain);
  if (isMonitorBroken(control)) {
    return {
      wrong: true,
      summary: `libvirt has lost the connection to the monitor of ${who(record)}.`,
      evidence: ["libvirt reports the control state error (monitor)"],
      remedy: [`${virsh} destroy ${word} && ${virsh} start ${word}`],
    };
  }
  if (control.state === ControlState.job) {
    const operation = OPERATIONS[Number(job?.params.getUnknown("operation") ?? 0)] ?? "a job";
    return {
      wrong: record.status !== "ok",
      summary: `${capital(operation)} has run in ${who(record)} for ${lasting(control.forMs)}.`,
      evidence: [`libvirt reports a job since ${lasting(control.forMs)}`, ...progressOf(job?.params)],
      remedy: [`${virsh} domjobinfo ${word}`],
    };
  }
  if (record.status === "ok" || control.state !== ControlState.occupied) return undefined;
  const foreign = control.forMs > askedForMs;
  return {
    wrong: true,
    summary: `${who(record)} does not answer: its monitor has been busy for ${lasting(control.forMs)}${foreign ? " with a call of another client" : ""}.`,
    evidence: [
      `libvirt reports a busy monitor since ${lasting(control.forMs)}`,
      evidence?.process === undefined
        ? "the QEMU process cannot be seen from here"
        : `QEMU process ${evidence.process.pid} runs (state ${evidence.process.state})`,
    ],
    remedy: [
      `ps -eo pid,stat,wchan,args | grep '[-]uuid ${record.domain.uuid}'  # on ${record.domain.host}; T: kill -CONT PID; D: repair its storage`,
    ],
  };
}

function progressOf(params: TypedParams | undefined): string[] {
  const [total, done] = ["data_total", "data_processed"].map((key) => Number(params?.getUnknown(key) ?? 0)) as [
    number,
    number,
  ];
  return total > 0 ? [`${((100 * done) / total).toFixed(0)} % of its data is done`] : [];
}

/** Finds a cause in the guest's state, which shows that its storage or QEMU failed, or that the guest panicked. */
function failed({ rates: { record }, evidence, virsh }: Case): Finding | undefined {
  const { state, domain, params } = record;
  if (state === undefined || !isTrouble(state)) return undefined;
  const word = guestWord(domain);
  const log = `less ${shellWord(`/var/log/libvirt/qemu/${domain.name}.log`)}`;
  if (state.state === "paused" && state.reason === "ioerror") {
    const disks = evidence?.diskErrors ?? [];
    const full = disks.some(({ error }) => error === "no space");
    const named = disks.map(({ disk, error }) => {
      const path = pathOf(params, disk);
      return `${disk}${path === undefined ? "" : ` (${path})`}: ${error === "no space" ? "no space left" : "an I/O error"}`;
    });
    const paths = disks.flatMap(({ disk }) => pathOf(params, disk) ?? []);
    return {
      wrong: true,
      summary: full
        ? `${who(record)} is paused: its disk ${disks[0]!.disk} found no space left on the host.`
        : `${who(record)} is paused: a request to ${disks.length === 1 ? `its disk ${disks[0]!.disk}` : "a disk"} failed on the host.`,
      evidence: named.length > 0 ? named : ["libvirt reports: paused (I/O error)"],
      remedy: [
        ...(disks.length === 0 ? [`${virsh} domblkerror ${word}  # which disk`] : []),
        ...(full ? paths.map((path) => `df -h ${shellWord(path)}  # on ${domain.host}: make room, then`) : []),
        `${virsh} resume ${word}`,
      ],
    };
  }
  const words = `${state.state} (${state.reason.replaceAll("-", " ")})`;
  const crashed = state.state === "shutoff" && state.reason === "crashed";
  return {
    wrong: true,
    summary: crashed
      ? `${who(record)} is shut off, because its QEMU crashed or was killed.`
      : state.state === "crashed"
        ? `${who(record)} has crashed: the guest's own system gave up.`
        : `${who(record)} has failed: it is ${words}.`,
    evidence: [`libvirt reports: ${words}`],
    remedy:
      state.state === "paused" || state.state === "running"
        ? [log, `${virsh} resume ${word}`]
        : [
            `${log}  # on ${domain.host}: its last lines say why`,
            `${virsh} ${domain.id < 0 ? "start" : "reset"} ${word}`,
          ],
  };
}

const REASONS: Readonly<Record<string, string>> = {
  timeout: "it did not answer in time",
  busy: "another call held its monitor, or no call became free in time",
  quarantined: "an earlier call is still unanswered",
  denied: "this user may not read it",
  unsupported: "its hypervisor lacks the statistics",
  error: "libvirt returned an error",
};

/** Explains a record that is incomplete for a reason that no earlier check has found. */
function incomplete({ rates: { record }, evidence, virsh, isSimulated = false, refusal }: Case): Finding | undefined {
  if (record.status === "ok") return undefined;
  const { reason, error, domain } = record;
  const word = guestWord(domain);
  const more = error ?? evidence?.error;
  const isAway = record.status === "failed" && /^connect(ion)?-/.test(more?.code ?? "");
  return {
    wrong: true,
    summary: isAway
      ? `${who(record)} cannot be read, because its host cannot be reached.`
      : `${who(record)}${record.state === undefined ? "" : `${stateOf(record.state)}, and`} gives only part of its statistics: ${REASONS[reason ?? "error"] ?? reason}.`,
    evidence: [
      ...(more === undefined ? [] : [`${more.message} [${more.code}]`]),
      ...(evidence === undefined && refusal === undefined
        ? [
            isSimulated
              ? "its host is simulated, and its URI asks for this fault"
              : `only ${domain.host} itself can say more`,
          ]
        : []),
    ],
    remedy: isSimulated
      ? ["take the guest out of freeze=, slow= or error= of the URI: docs/simulated.md"]
      : evidence === undefined
        ? [`virstream why ${word}  # on ${domain.host}`]
        : reason === "denied" || reason === "unsupported"
          ? ["virstream doctor"]
          : [`${virsh} domcontrol ${word}`],
  };
}

/** Explains why a guest does not run although nothing failed. */
function stopped({ rates: { record }, virsh }: Case): Finding | undefined {
  const { state, domain } = record;
  const [word, command] = [guestWord(domain), COMMANDS[state?.state ?? ""]];
  if (state === undefined || command === undefined) return undefined;
  return {
    wrong: state.state === "paused",
    summary: `${who(record)} is ${state.state === "shutoff" ? "shut off" : state.state === "paused" ? "paused" : "suspended"}: ${WHY[state.reason] ?? state.reason.replaceAll("-", " ")}.`,
    evidence: [`libvirt reports: ${state.state} (${state.reason})`],
    remedy: [`${virsh} ${command} ${word}`],
  };
}

const COMMANDS: Readonly<Record<string, string>> = { paused: "resume", shutoff: "start", pmsuspended: "dompmwakeup" };

/** libvirt's words for the reasons why a guest does not run, each with the reason in plain words. */
const WHY: Readonly<Record<string, string>> = {
  user: "a user paused it",
  unknown: "libvirt does not know why",
  shutdown: "the guest shut down",
  destroyed: "a user stopped it (virsh destroy)",
  migrated: "it was migrated to another host",
  saved: "it was saved to a file",
  migration: "a migration pauses it",
  snapshot: "a snapshot pauses it",
  save: "it is being saved",
  dump: "its memory is being dumped",
  "from-snapshot": "it was set back to a snapshot of a stopped guest",
  "starting-up": "it is being started",
};

/** Says whether a guest is slow. This is the last check: the guest runs, and its record is complete. */
function slow({ rates, evidence, virsh }: Case): Finding {
  const { record, cpu, vcpus, disks, memory } = rates;
  const problems = slownessOf(rates).map(({ kind, sentence, disk }): [sentence: string, remedy: string] =>
    kind === "steal"
      ? [sentence, `top  # on ${record.domain.host}: its processors are overcommitted; move or limit guests`]
      : [
          `${sentence}${disk?.path === undefined ? "" : ` (${disk.path})`}`,
          `iostat -x 1  # on ${record.domain.host}: is the storage overloaded, or does another guest use it up?`,
        ],
  );
  if ((memory.usedPercent ?? 0) >= MEMORY_PERCENT) {
    problems.push([
      `it uses ${memory.usedPercent!.toFixed(0)} % of its memory`,
      `${virsh} setmem ${guestWord(record.domain)} SIZE --live  # or find what uses it inside the guest`,
    ]);
  }
  const steal = meanSteal(rates);
  const figures = [
    ...(cpu.percent === undefined ? [] : [`CPU ${cpu.percent.toFixed(1)} % of one processor, ${vcpus.length} vCPUs`]),
    ...(steal === undefined ? [] : [`steal ${steal.toFixed(1)} %`]),
    ...disks.flatMap((disk) => {
      const latency = slowestOf(disk);
      return latency === undefined ? [] : [`disk ${disk.name} ${latency[1].toFixed(1)} ms for each ${latency[0]}`];
    }),
  ];
  const limits = [...(evidence?.ioLimits ?? [])];
  const over = rates.intervalMs === undefined ? [] : [`${figures.join("; ")} (over ${lasting(rates.intervalMs)})`];
  if (problems.length === 0) {
    return {
      wrong: false,
      summary: `${who(record)}${stateOf(record.state)}, and its host sees nothing wrong with it.`,
      evidence: figures.length === 0 ? [] : over,
      remedy: [],
    };
  }
  return {
    wrong: true,
    summary: `${who(record)} runs, but ${problems.map(([sentence]) => sentence).join(", and ")}.`,
    evidence: [...over, ...limits.map(([disk, set]) => `disk ${disk} has limits of libvirt: ${set.join(", ")}`)],
    remedy: [
      ...limits.map(
        ([disk]) => `${virsh} blkdeviotune ${guestWord(record.domain)} ${shellWord(disk)}  # are these limits too low?`,
      ),
      ...problems.map(([, remedy]) => remedy),
    ],
  };
}

/** The path of the file or device that contains a disk's data. */
function pathOf(params: TypedParams, disk: string): string | undefined {
  for (const [key, value] of params) {
    const number = /^block\.(\d+)\.name$/.exec(key)?.[1];
    if (number === undefined || value !== disk) continue;
    const path = params.getUnknown(`block.${number}.path`);
    return typeof path === "string" ? path : undefined;
  }
  return undefined;
}

function who({ domain: { name, uuid, host } }: DomainStatsRecord): string {
  return `${name || uuid} (${host})`;
}

function stateOf(state: StateWords | undefined): string {
  return state === undefined ? "" : ` is ${state.state}`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
