import { invalid, VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";

/** The members of a Connection that lookup() uses. */
interface Searched {
  readonly uri: string;
  listDomains(query: { filter: ["active"] }, options: Options): Promise<Domain[]>;
  domainListGetStats(
    domains: readonly string[],
    query: { groups: ["state"] },
    options: Options,
  ): Promise<DomainStatsRecord[]>;
}

type Options = { readonly signal?: AbortSignal };

/** Finds a domain by its id, else by its uuid, else by its name; see Connection.lookupDomain. */
export async function lookup(connection: Searched, text: string, options: Options): Promise<Domain> {
  const active = /^\d{1,10}$/.test(text) ? await connection.listDomains({ filter: ["active"] }, options) : [];
  let found = active.filter(({ id }) => String(id) === text);
  let error: VirstreamError | undefined;
  if (found.length === 0) {
    const records = await connection.domainListGetStats([text], { groups: ["state"] }, options);
    const known = records.filter(({ status, domain }) => status !== "gone" && domain.uuid !== NIL_UUID);
    found = known.map(({ domain }) => domain);
    error = records[0]?.error;
  }
  const [domain, ...others] = found;
  const named = JSON.stringify(text);
  if (domain === undefined)
    throw error ?? new VirstreamError("unknown-domain", `no domain ${named} on ${connection.uri}`);
  if (others.length === 0) return domain;
  const which = found.map(({ uuid, host }) => `${uuid} on ${host}`).join(", ");
  throw invalid(`${found.length} domains have the name or id ${named}: ${which}. Use one of these uuids`);
}
