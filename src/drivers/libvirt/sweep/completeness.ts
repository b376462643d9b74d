import { ALL_GROUPS, type Group, groupBit, groupNames, MONITOR_FREE_GROUPS } from "../../../model/group.ts";
import type { Schema, TypedParams } from "../../../model/params.ts";
import { DOMAIN_LIST_MAX } from "../rpc/remote-domain.ts";

/**
 * libvirt's QEMU driver answers a statistics call also when it could not have the domain's job: with NOWAIT while
 * somebody else holds it, or after waiting for 30 s. It then leaves out what only the monitor knows, and nothing in the
 * answer says so. But the keys tell, because of every group it is known what it says without the job:
 *
 * - Some keys are there only with the job. One of them proves that the answer had it, for all of its groups.
 * - balloon.* has more than its two sizes whenever the job was had, at least `rss`, whatever the guest and its devices.
 *   A disk with a path has counters or sizes; one without a path may be vhost-user, which never has any. Where these
 *   are missing, and nothing shows that the job was had, it was not.
 * - vcpu.N.<name>, vm.* and dirtyrate.* depend on the QEMU and on the accelerator. But what a QEMU process has brought
 *   once it brings until it ends. So what it brought is kept in mind, by the domain's id: a restart has another one.
 *   The same goes for cpu.haltpoll.*, but only where QEMU itself is its source: else it is the host's debugfs, which
 *   can go away, and which needs no job.
 * - iothread.* comes and goes with the iothreads of a guest that runs. That it is missing never proves anything.
 *
 * A group may also be missing from an answer that had the job, when the guest died while its groups were being read.
 * That shows as well, if the group is one of those above and came before.
 *
 * Silence is the answer wherever this leaves room for doubt: a healthy guest's record must never be called partial.
 */

const CPU_TOTAL = groupBit("cpu-total");
const BALLOON = groupBit("balloon");
const VCPU = groupBit("vcpu");
const BLOCK = groupBit("block");
const IOTHREAD = groupBit("iothread");
const DIRTYRATE = groupBit("dirtyrate");
const VM = groupBit("vm");

/** The groups that have something to lose. */
const MONITOR_GROUPS = ALL_GROUPS & ~MONITOR_FREE_GROUPS;
/** Those whose monitor data prove that the job was had. */
const PROVING = MONITOR_GROUPS & ~CPU_TOTAL;
/** Those that a QEMU process brings always or never. */
const LASTING = VCPU | VM | DIRTYRATE;

/** From this libvirt on, as its version counts, `balloon.rss` is certain. Earlier ones may not have it. */
const RSS_SINCE = 4_005_000;

/** So many domains are kept in mind at least, and twice as many at most. A daemon cannot list more. */
const DOMAINS_MAX = DOMAIN_LIST_MAX;

const NOTHING: readonly Group[] = Object.freeze([]);

/** What the keys of an answer show, as masks of groups. */
interface Signs {
  /** They have data from the monitor, or such as the job is needed for. */
  readonly brought: number;
  /** They are there without the data that come with the job. */
  readonly bare: number;
}

/** What a QEMU process is known for. */
interface Known {
  readonly id: number;
  /** The groups that were asked for when the job was had. */
  asked: number;
  /** Those that brought data from the monitor then. */
  brought: number;
}

/**
 * Tells complete answers from those whose monitor data libvirt left out. For one daemon's QEMU driver, as long as the
 * connection to it lasts; other drivers answer by other rules. It keeps a few bytes for each running domain, and
 * forgets by itself those that it has not seen for long.
 */
export class Completeness {
  /** The groups whose bare keys are evidence also when the guest was never seen before. */
  readonly #certain: number;
  readonly #signs = new WeakMap<Schema, Signs>();
  /** By uuid. When the recent ones are many they become the earlier ones, and the earlier ones are forgotten. */
  #recent = new Map<string, Known>();
  #earlier = new Map<string, Known>();

  /** @param libvirtVersion the daemon's: major · 1,000,000 + minor · 1,000 + release */
  constructor(libvirtVersion: number) {
    this.#certain = libvirtVersion >= RSS_SINCE ? BALLOON | BLOCK : BLOCK;
  }

  /**
   * The groups whose monitor data an answer lacks, in the order of their bits; none when it is complete as far as can
   * be told. Learns from every answer that had the job.
   *
   * Once an answer is known to lack something, a group that was asked for counts as missing unless it has monitor data,
   * or unless it had none either when this QEMU process last answered completely.
   *
   * @param domain as the answer itself names it: an id of −1 is a domain that does not run, and lacks nothing
   * @param groups the mask that was asked for; 0 is all
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

  #recall(uuid: string, id: number): Known | undefined {
    let known = this.#recent.get(uuid);
    if (known === undefined) {
      known = this.#earlier.get(uuid);
      if (known?.id === id) this.#remember(uuid, known);
    }
    return known?.id === id ? known : undefined;
  }

  #remember(uuid: string, known: Known): void {
    if (this.#recent.size >= DOMAINS_MAX) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(uuid, known);
  }

  /** Records of one shape share their schema, so its keys are looked through once. */
  #signsOf(schema: Schema): Signs {
    let signs = this.#signs.get(schema);
    if (signs === undefined) {
      signs = readSigns(schema.keys);
      this.#signs.set(schema, signs);
    }
    return signs;
  }
}

/** What QEMU's own statistics of a vCPU end in; libvirt's do not. */
const VCPU_CUSTOM = /^vcpu\.\d+\..+\.(?:cur|sum|max)$/;
/** All that a disk has without the job. */
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
