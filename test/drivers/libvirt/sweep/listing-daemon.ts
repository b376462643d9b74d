import { PROCEDURES, type Procedure } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import type { OneOffCalls } from "../../../../src/drivers/libvirt/sweep/domain-search.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";

/** A domain of which the daemon knows what the listing's filters are about. */
export interface ListedDomain extends RemoteDomain {
  /** What applies to it, of each family of filters one bit. */
  flags: number;
}

/** virConnectListAllDomainsFlags, by what they are about. */
export const ListFlag = {
  active: 1 << 0,
  inactive: 1 << 1,
  persistent: 1 << 2,
  transient: 1 << 3,
  running: 1 << 4,
  paused: 1 << 5,
  shutoff: 1 << 6,
  other: 1 << 7,
  managedSave: 1 << 8,
  noManagedSave: 1 << 9,
  autostart: 1 << 10,
  noAutostart: 1 << 11,
  snapshot: 1 << 12,
  noSnapshot: 1 << 13,
  checkpoint: 1 << 14,
  noCheckpoint: 1 << 15,
} as const;

const FAMILIES = [0x3, 0xc, 0xf0, 0x300, 0xc00, 0x3000, 0xc000];
/** What a plain domain is, besides active and running, or neither. */
const PLAIN =
  ListFlag.persistent | ListFlag.noManagedSave | ListFlag.noAutostart | ListFlag.noSnapshot | ListFlag.noCheckpoint;

/** A domain that runs under a number. */
export function running(number: number, id: number, flags = PLAIN): ListedDomain {
  return { name: `vm${number}`, uuid: uuidOf(number), id, flags: flags | ListFlag.active | ListFlag.running };
}

/** A domain that is defined only. */
export function defined(number: number, flags = PLAIN): ListedDomain {
  return { name: `vm${number}`, uuid: uuidOf(number), id: -1, flags: flags | ListFlag.inactive | ListFlag.shutoff };
}

/** Whether a domain passes a filter: of each family of which the filter names any, it must be one. */
export function passes({ flags }: ListedDomain, filter: number): boolean {
  return FAMILIES.every((family) => (filter & family) === 0 || (filter & family & flags) !== 0);
}

/** A daemon that lists and counts its domains, and looks them up, within limits as libvirt's. */
export class ListingDaemon implements OneOffCalls {
  /** Everything it was asked, in that order. */
  readonly asked: { name: string; args: unknown }[] = [];
  domains: ListedDomain[];
  /** Called before each answer. */
  before: ((procedure: Procedure<never, unknown>, args: unknown) => void) | undefined;
  readonly #limit: number;

  /** @param limit the most domains in one reply */
  constructor(domains: readonly ListedDomain[], limit = DOMAIN_LIST_MAX) {
    this.domains = [...domains];
    this.#limit = limit;
  }

  /** How often it was asked this. */
  count(procedure: Procedure<never, unknown>): number {
    return this.asked.filter(({ name }) => name === procedure.name).length;
  }

  async ask<Args, Result>(procedure: Procedure<Args, Result>, args: Args): Promise<Result> {
    this.asked.push({ name: procedure.name, args });
    await undefined;
    this.before?.(procedure as Procedure<never, unknown>, args);
    return this.#answer(procedure as Procedure<never, unknown>, args) as Result;
  }

  #answer(procedure: Procedure<never, unknown>, args: unknown): unknown {
    const active = this.domains.filter(({ id }) => id !== -1);
    switch (procedure) {
      case PROCEDURES.countRunning:
        return active.length;
      case PROCEDURES.countDefined:
        return this.domains.length - active.length;
      case PROCEDURES.listIds:
        return active.slice(0, this.#limit).map(({ id }) => id);
      case PROCEDURES.lookupById: {
        const found = active.find(({ id }) => id === args);
        if (found === undefined) throw refusal(42, "unknown-domain", `no domain with matching id ${args}`);
        return remote(found);
      }
      default: {
        const listed = this.domains.filter((domain) => passes(domain, args as number));
        if (listed.length > this.#limit) {
          throw refusal(39, "hypervisor-error", `Too many domains '${listed.length}' for limit '${this.#limit}'`);
        }
        return listed.map(remote);
      }
    }
  }
}

function remote({ name, uuid, id }: ListedDomain): RemoteDomain {
  return { name, uuid, id };
}

/** An error of the daemon's. */
export function refusal(code: number, ours: VirstreamError["code"], message: string): VirstreamError {
  return new VirstreamError(ours, message, { libvirt: { code, domain: 7 } });
}
