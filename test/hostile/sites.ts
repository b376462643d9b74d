/**
 * The servers that are attacked: all in one process, each with the same 20 domains. `open` has the live page and no token; `prefix` has both,
 * below /vm. `mutual` asks its clients for certificates. The timeout of the hasty ones is short: what stops in the middle ends there.
 */
export const PLAIN_SITES = ["guarded", "open", "prefix", "roles", "users", "hasty"] as const;
export const TLS_SITES = ["tls", "mutual", "hastyTls", "hastyMutual"] as const;
export type SiteName = (typeof PLAIN_SITES | typeof TLS_SITES)[number];

/** The token that shows every domain. */
export const TOKEN = "a secret of the attacked server";
/** The tokens of the site `roles`, by what is special about them. */
export const ROLE_TOKENS = {
  admin: "the token of an admin",
  stats: "a token of the role stats",
  metrics: "the token of a Prometheus",
  expired: "an expired token",
  revoked: "a revoked token",
} as const;
/** Tokens to which `authenticate` of the site `users` has no answer, an error, or a wrong answer. */
export const USER_TOKENS = {
  silent: "no answer",
  failing: "an error",
  invalid: "a principal with a misspelt member",
} as const;

/** The shortest interval of watches, in ms. */
export const MIN_INTERVAL_MS = 100;
/** The timeouts of the hasty sites, and of `users`, in ms. */
export const HASTY_MS = 2_000;
export const USERS_MS = 1_000;

/** A certificate and its key, in PEM. */
export interface Pem {
  readonly cert: string;
  readonly key: string;
}
