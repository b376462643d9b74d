/**
 * Rates for programs that have events or records of their own, and so do not use `watch().rates`.
 *
 * @module virstream/rates
 */

export { RateMeter, rates } from "./client/rates.ts";
