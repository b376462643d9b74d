import { HOST_FAMILIES, ROW_FAMILIES } from "./computed.ts";
import type { Dialect, Family } from "./family.ts";
import { EXTRA_FAMILIES } from "./info/extras.ts";
import { IDENTITY_FAMILIES } from "./info/identity.ts";
import { POOL_FAMILIES } from "./info/pools.ts";
import { VALUE_FAMILIES } from "./values.ts";

/** Every family, in the order in which a page has them. A name occurs once. */
export const FAMILIES: readonly Family[] = [
  ...HOST_FAMILIES,
  ...VALUE_FAMILIES,
  ...ROW_FAMILIES,
  ...IDENTITY_FAMILIES,
  ...EXTRA_FAMILIES,
  ...POOL_FAMILIES,
];

/** The families of a dialect. */
export function familiesOf(dialect: Dialect): Family[] {
  return FAMILIES.filter((family) => family.dialect === undefined || dialect === "both" || family.dialect === dialect);
}
