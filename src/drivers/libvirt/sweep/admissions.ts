import { Admission } from "./admission.ts";

/**
 * One admission per host: its budget is for all connections that this process has to the host, whoever opened them. It
 * goes with the last of them, unless calls are left over that a later connection has to know of.
 */
const admissions = new Map<string, Admission>();

/**
 * The admission of a host.
 *
 * @param host what tells the host, or more exactly the daemon, from others
 */
export function admissionOf(host: string): Admission {
  for (const [key, admission] of admissions) if (key !== host && admission.idle) admissions.delete(key);
  let admission = admissions.get(host);
  if (admission === undefined) {
    admission = new Admission({ now: () => performance.now() });
    admissions.set(host, admission);
  }
  return admission;
}
