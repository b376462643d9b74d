import type { SiteName } from "../sites.ts";
import { FRAME_INPUTS } from "./frames.ts";
import { HTTP_INPUTS } from "./http.ts";
import type { Input } from "./input.ts";
import { REQUEST_INPUTS } from "./requests.ts";
import { STALLED_INPUTS } from "./stalled.ts";
import { TARGET_INPUTS } from "./targets.ts";
import { TLS_INPUTS } from "./tls.ts";
import { TOKEN_INPUTS } from "./tokens.ts";
import { UPGRADE_INPUTS } from "./upgrades.ts";

/** Everything that a client may try against a server without TLS, each with the server's reaction. */
export const PLAIN_INPUTS: readonly Input[] = [
  ...HTTP_INPUTS,
  ...TARGET_INPUTS,
  ...UPGRADE_INPUTS,
  ...TOKEN_INPUTS,
  ...REQUEST_INPUTS,
  ...FRAME_INPUTS,
  ...STALLED_INPUTS,
];

/** The sites that differ from others by TLS only. */
const WITH_TLS: Partial<Record<SiteName, SiteName>> = { guarded: "tls", hasty: "hastyTls" };

/** The same over TLS, where a site with TLS has the same options. */
export const PLAIN_INPUTS_OVER_TLS: readonly Input[] = PLAIN_INPUTS.flatMap((input) => {
  const site = WITH_TLS[input.site ?? "guarded"];
  return site === undefined || input.ends ? [] : [{ ...input, site, name: `over TLS: ${input.name}` }];
});

export { TLS_INPUTS };

/** All of them. */
export const INPUTS: readonly Input[] = [...PLAIN_INPUTS, ...TLS_INPUTS, ...PLAIN_INPUTS_OVER_TLS];

/** Inputs by kind, in their order. */
export function byKind(inputs: readonly Input[]): ReadonlyMap<string, readonly Input[]> {
  const kinds = new Map<string, Input[]>();
  for (const input of inputs) kinds.set(input.kind, [...(kinds.get(input.kind) ?? []), input]);
  return kinds;
}
