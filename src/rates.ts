/**
 * Rates of records that do not come from `watch().rates`: for programs that have events or records of their own.
 *
 * @module virstream/rates
 */

export { RateMeter, rates } from "./client/rates.ts";
