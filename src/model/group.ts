import { quote, VirstreamError } from "./error.ts";

/**
 * libvirt's statistics groups (virDomainStatsTypes) in the order of their bits: the position of a group is the number
 * of its bit.
 */
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

/** The name of a group that this version of virstream knows. */
export type KnownGroup = (typeof GROUPS)[number];

/**
 * A group by name. A bit without a known name is `group-<bit>`, so that a query can name the groups of a newer libvirt.
 */
export type Group = KnownGroup | `group-${number}`;

/** The bit mask that has the bits of all groups in GROUPS. */
export const ALL_GROUPS = 2 ** GROUPS.length - 1;

/**
 * The groups that libvirt's QEMU driver answers without a job on the domain and without the domain's monitor: state,
 * interface, perf, memory. A frozen guest cannot delay them.
 */
export const MONITOR_FREE_GROUPS = 0x151;

/** Returns the bit mask of one group, given by name. Throws `unknown-group` for a name that is no Group. */
export function groupBit(name: string): number {
  const known = GROUPS.indexOf(name as KnownGroup);
  if (known >= 0) return 2 ** known;
  const bit = /^group-(\d{1,2})$/.exec(name);
  if (bit && Number(bit[1]) < 32) return 2 ** Number(bit[1]);
  const message = `unknown statistics group ${quote(name)}: the groups are ${GROUPS.join(", ")}`;
  throw new VirstreamError("unknown-group", message);
}

/**
 * Converts names or a bit mask to an unsigned mask of 32 bits. Undefined, an empty list and 0 become 0, which means
 * every supported group.
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
 * Returns the groups of a list that a server permits. If the server permits none of them, returns the whole list: the
 * server then refuses the query, and its refusal names the permitted groups.
 *
 * @param permitted the names of the permitted groups; undefined: all groups
 */
export function permittedOf(groups: readonly Group[], permitted: readonly string[] | undefined): readonly Group[] {
  const some = groups.filter((group) => permitted?.includes(group) ?? true);
  return some.length === 0 ? groups : some;
}
