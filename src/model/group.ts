import { quote, VirstreamError } from "./error.ts";

/** libvirt's statistics groups (virDomainStatsTypes) in the order of their bits: the position is the bit. */
export const GROUPS = [
  "state",
  "cpu-total",
  "balloon",
  "vcpu",
  "interface",
  "block",
  "perf",
  "iothread",
  "memory",
  "dirtyrate",
  "vm",
] as const;

/** A group that this version knows by name. */
export type KnownGroup = (typeof GROUPS)[number];

/** A group by name. A bit without a known name is `group-<bit>`, so that a newer libvirt's groups can be asked for. */
export type Group = KnownGroup | `group-${number}`;

/** The bit mask of every group known by name. */
export const ALL_GROUPS = 2 ** GROUPS.length - 1;

/**
 * The groups that libvirt's QEMU driver answers without the domain's job and without its monitor: state, interface,
 * perf, memory. A frozen guest cannot delay them.
 */
export const MONITOR_FREE_GROUPS = 0x151;

/** The bit of one group. Throws `unknown-group` for any other name. */
export function groupBit(name: string): number {
  const known = GROUPS.indexOf(name as KnownGroup);
  if (known >= 0) return 2 ** known;
  const bit = /^group-(\d{1,2})$/.exec(name);
  if (bit && Number(bit[1]) < 32) return 2 ** Number(bit[1]);
  const message = `unknown statistics group ${quote(name)}: the groups are ${GROUPS.join(", ")}`;
  throw new VirstreamError("unknown-group", message);
}

/**
 * Converts names or a bit mask to an unsigned mask of 32 bits. Undefined, an empty list and 0 become 0: every supported
 * group.
 */
export function groupMask(groups: readonly string[] | number | undefined): number {
  if (groups === undefined) return 0;
  if (typeof groups === "number" && Number.isInteger(groups) && groups >= 0 && groups <= 0xffffffff) return groups;
  if (!Array.isArray(groups)) {
    const message = `groups must be a list of names or a bit mask, not ${quote(groups)}: a mask has 32 bits, unsigned`;
    throw new VirstreamError("unknown-group", message);
  }
  let mask = 0;
  for (const name of groups) mask = (mask | groupBit(name)) >>> 0;
  return mask;
}

/** The names of a mask's groups, in the order of their bits. */
export function groupNames(mask: number): Group[] {
  const names: Group[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if ((mask & (1 << bit)) !== 0) names.push(GROUPS[bit] ?? `group-${bit}`);
  }
  return names;
}

/**
 * Those of the groups that a server permits. If it permits none of them, all groups, so that the server's refusal names
 * the permitted ones.
 *
 * @param permitted by name; undefined: all
 */
export function permittedOf(groups: readonly Group[], permitted: readonly string[] | undefined): readonly Group[] {
  const some = groups.filter((group) => permitted?.includes(group) ?? true);
  return some.length === 0 ? groups : some;
}
