import { perObject } from "../../../driver/memo.ts";
import { ALL_GROUPS, type Group, groupBit, groupNames, MONITOR_FREE_GROUPS } from "../../../model/group.ts";
import type { TypedParams } from "../../../model/params.ts";
import type { Schema } from "../../../model/schema.ts";
import { DOMAIN_LIST_MAX } from "../rpc/remote-domain.ts";

/**
 * libvirt's QEMU driver also answers a statistics call when it could not get the domain's job: with NOWAIT, at once
 * while another call holds the job; without NOWAIT, after waiting for 30 s. libvirt then leaves out what only the
 * monitor knows, and the answer has no mark for this. But the keys of the answer show it, because we know for every
 * group which of its keys come without the job:
 *
 * - Some keys are in an answer only if libvirt had the job. Any one of these keys proves that libvirt had the job for
 *   all groups of the answer.
 * - With the job, balloon.* has at least `rss` besides its two sizes, whatever the guest and its devices are. A disk
 *   with a path has counters or sizes; a disk without a path may be a vhost-user disk, which never has counters or
 *   sizes. If an answer lacks `rss`, or a disk with a path lacks counters and sizes, and no other key shows that
 *   libvirt had the job, libvirt did not have it.
 * - vcpu.N.<name>, vm.* and dirtyrate.* depend on the QEMU version and on the accelerator. But once a QEMU process has
 *   returned a group, it returns this group until it ends. So the groups are remembered with the domain's id, which
 *   changes when the domain is restarted. The same holds for cpu.haltpoll.*, but only where QEMU itself is the source.
 *   Otherwise the source is the host's debugfs, which can be unmounted, and which needs no job.
 * - iothread.* comes and goes with the iothreads of a running guest. Its absence never proves anything.
 *
 * Even if libvirt had the job, a group may be missing from the answer, because the guest died while its groups were
 * being read. The keys show this as well, if the group is named above (except iothread) and was in an earlier answer of
 * the same QEMU process.
 *
 * In doubt, an answer counts as complete: a healthy guest's record must never be called partial.
 */

const CPU_TOTAL = groupBit("cpu-total");
const BALLOON = groupBit("balloon");
const VCPU = groupBit("vcpu");
const BLOCK = groupBit("block");
const IOTHREAD = groupBit("iothread");
const DIRTYRATE = groupBit("dirtyrate");
const VM = groupBit("vm");

/** The groups that can lack monitor data. */
const MONITOR_GROUPS = ALL_GROUPS & ~MONITOR_FREE_GROUPS;
/** The groups whose monitor data prove that libvirt had the job. */
const PROVING = MONITOR_GROUPS & ~CPU_TOTAL;
/** The groups that a QEMU process returns either always or never. */
const LASTING = VCPU | VM | DIRTYRATE;

/**
 * From this version of libvirt on (4.5.0), libvirt always returns `balloon.rss` if it has the job, and a call can tell
 * it not to wait for the job (NOWAIT).
 */
const RSS_SINCE = 4_005_000;

/**
 * If a host has at most this many domains, no domain is forgotten. At most twice as many domains are remembered. A
 * daemon lists no more than DOMAINS_MAX domains in one reply.
 */
const DOMAINS_MAX = DOMAIN_LIST_MAX;

const NOTHING: readonly Group[] = Object.freeze([]);

/** The facts that the keys of an answer show, as group masks. */
interface Signs {
  /** Groups with keys that come only with the job. */
  readonly brought: number;
  /** Groups that are present, but without keys that come only with the job. */
  readonly bare: number;
}

/** The groups that a QEMU process has answered so far. */
interface ProcessHistory {
  readonly id: number;
  /** The groups that were requested in calls that had the domain's job. */
  asked: number;
  /** The groups that came with monitor data. */
  brought: number;
}

/**
 * Finds out which answers lack monitor data. One object serves one daemon's QEMU driver, as long as the connection to
 * it lasts. Other drivers answer by other rules. The object keeps a few bytes for each running domain, and forgets
 * domains that it has not seen for a long time.
 */
export class Completeness {
  /** Groups that, if they are bare (see Signs), are evidence of an answer without the job, even for a new guest. */
  readonly #certain: number;
  /** Records with the same keys share a schema, so the keys of each schema are examined once. */
  readonly #signsOf = perObject((schema: Schema) => readSigns(schema.keys));
  /**
   * The histories by the domain's uuid. When `#recent` is full, it becomes `#earlier`, and the former `#earlier` is
   * dropped.
   */
  #recent = new Map<string, ProcessHistory>();
  #earlier = new Map<string, ProcessHistory>();

  /**
   * True if the daemon can answer without waiting for the job, and the group `balloon` shows whether libvirt had the
   * job.
   */
  readonly knowsNowait: boolean;

  /** @param libvirtVersion of the daemon: major · 1,000,000 + minor · 1,000 + release */
  constructor(libvirtVersion: number) {
    this.knowsNowait = libvirtVersion >= RSS_SINCE;
    this.#certain = this.knowsNowait ? BALLOON | BLOCK : BLOCK;
  }

  /** True if libvirt had the job for this answer, or needed no job. The answer must contain the group `balloon`. */
  hadJob(domain: { readonly id: number }, params: TypedParams): boolean {
    return domain.id < 0 || (this.#signsOf(params.schema).brought & PROVING) !== 0;
  }

  /**
   * Returns the groups whose monitor data an answer lacks, in the order of their bits; none when nothing shows that the
   * answer is incomplete. Remembers what the answer shows about the QEMU process, unless the answer is incomplete.
   *
   * If an answer is incomplete, the requested groups that lack their monitor data count as missing. A group does not
   * count if a complete answer of the same QEMU process lacked its monitor data, too, because this process may never
   * return such data.
   *
   * @param domain the domain in the answer; an id of −1 means that the domain does not run, and so lacks nothing
   * @param groups the requested mask; 0 means all groups
   */
  missing(
    domain: { readonly uuid: string; readonly id: number },
    groups: number,
    params: TypedParams,
  ): readonly Group[] {
    const asked = groups === 0 ? MONITOR_GROUPS : groups & MONITOR_GROUPS;
    if (asked === 0 || domain.id < 0) return NOTHING;
    const signs = this.#signsOf(params.schema);
    const brought = signs.brought & asked;
    const absent = asked & ~brought;
    const known = this.#recall(domain.uuid, domain.id);
    const before = known?.brought ?? 0;
    const hadJob = (brought & PROVING) !== 0;

    const lasting = (before & (VCPU | VM)) === 0 ? LASTING : LASTING | CPU_TOTAL;
    let evidence = before & (signs.bare | lasting);
    if (!hadJob) evidence |= signs.bare & this.#certain;
    evidence &= absent;
    if (evidence !== 0) {
      const never = known === undefined ? 0 : known.asked & ~known.brought;
      return groupNames((absent & ~never) | evidence);
    }

    if (known === undefined) {
      if (brought !== 0) this.#remember(domain.uuid, { id: domain.id, asked: hadJob ? asked : 0, brought });
    } else if (hadJob) {
      known.asked |= asked;
      known.brought = (known.brought & ~asked) | brought;
    } else {
      known.brought |= brought;
    }
    return NOTHING;
  }

  #recall(uuid: string, id: number): ProcessHistory | undefined {
    let known = this.#recent.get(uuid);
    if (known === undefined) {
      known = this.#earlier.get(uuid);
      if (known?.id === id) this.#remember(uuid, known);
    }
    return known?.id === id ? known : undefined;
  }

  #remember(uuid: string, known: ProcessHistory): void {
    if (this.#recent.size >= DOMAINS_MAX) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(uuid, known);
  }
}

/** The keys of QEMU's own statistics of a vCPU have one of these endings; the keys of libvirt's statistics never do. */
const VCPU_CUSTOM = /^vcpu\.\d+\..+\.(?:cur|sum|max)$/;
/** The keys that a disk has without the job. */
const BLOCK_HEADER = /^block\.(?:count|\d+\.(?:name|path|backingIndex))$/;
const BLOCK_PATH = /^block\.\d+\.path$/;

function readSigns(keys: readonly string[]): Signs {
  let brought = 0;
  let bare = 0;
  for (const key of keys) {
    switch (key.slice(0, key.indexOf("."))) {
      case "cpu":
        if (key.startsWith("cpu.haltpoll.")) brought |= CPU_TOTAL;
        break;
      case "balloon":
        if (key === "balloon.current" || key === "balloon.maximum") bare |= BALLOON;
        else brought |= BALLOON;
        break;
      case "vcpu":
        if (VCPU_CUSTOM.test(key)) brought |= VCPU;
        break;
      case "block":
        if (!BLOCK_HEADER.test(key)) brought |= BLOCK;
        else if (BLOCK_PATH.test(key)) bare |= BLOCK;
        break;
      case "iothread":
        brought |= IOTHREAD;
        break;
      case "dirtyrate":
        brought |= DIRTYRATE;
        break;
      case "vm":
        brought |= VM;
        break;
    }
  }
  return { brought, bare: bare & ~brought };
}
