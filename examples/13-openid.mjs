// A server whose clients show access tokens (JWT) of an OpenID Connect provider, such as Keycloak, Dex or Entra ID. The claims of a
// token say what its client may see, and until when.
//
//   npm install jose
//   ISSUER=https://login.example/realms/vm AUDIENCE=virstream node examples/13-openid.mjs [URI] [PORT]
//   virstream get ws://127.0.0.1:PORT --token-file FILE        # the file has the access token
//
// It takes these claims; a token with none of the first three shows nothing, and is refused:
//   vm_role     admin, metrics or stats
//   vm_domains  a list of uuids (or names)
//   vm_names    a list of patterns, such as ["web-*"]
//   vm_groups   a list of groups, such as ["state", "cpu-total"]; without it all

import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { connect } from "virstream";
import { serve } from "virstream/server";

const { ISSUER, AUDIENCE, JWKS, JWKS_COOLDOWN_MS = 30_000 } = process.env;
if (!ISSUER || !AUDIENCE) throw new Error("set ISSUER and AUDIENCE");

// The keys are fetched again for a token with an unknown key, so the provider may rotate them; at most twice a minute, because
// anybody can send such a token.
const keys = createRemoteJWKSet(new URL(JWKS ?? (await discover(ISSUER))), {
  cooldownDuration: Number(JWKS_COOLDOWN_MS),
});

async function discover(issuer) {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  const { issuer: named, jwks_uri } = await response.json();
  if (named !== issuer) throw new Error(`${issuer} says that it is ${named}`);
  return jwks_uri;
}

/** @type {import("virstream/server").Authenticate} */
async function authenticate(_request, token) {
  if (token === undefined) return undefined;
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: ISSUER,
      audience: AUDIENCE,
      // Only signatures by a key pair: with "HS256" a public key could be taken for a secret.
      algorithms: ["RS256", "ES256", "EdDSA"],
      requiredClaims: ["sub", "exp"],
    });
    return principalOf(payload);
  } catch (error) {
    if (isTheTokens(error)) return undefined;
    // The provider cannot be asked. A client that is refused gives up; one without an answer tries again.
    console.error(`cannot get the keys of ${ISSUER}: ${error.message}`);
    return new Promise(() => {});
  }
}

/** What the claims permit; undefined: nothing. A claim of a wrong kind is an error of virstream's, and shows nothing either. */
function principalOf({ sub, exp, vm_role: role, vm_domains: domains, vm_names: names, vm_groups: groups }) {
  if ((role ?? domains ?? names) === undefined) return undefined;
  return {
    name: sub,
    expiresAt: exp * 1000, // then the server disconnects it, and it needs a new token
    ...(role !== undefined && { role }),
    ...(domains !== undefined && { domains }),
    ...(names !== undefined && { names }),
    ...(groups !== undefined && { groups }),
  };
}

/** True if the token itself is at fault, and not the provider. */
function isTheTokens(error) {
  const ofProvider = ["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID"];
  return error instanceof errors.JOSEError && !ofProvider.includes(error.code);
}

const connection = await connect(process.argv[2] ?? "test:///default?domains=5");
const server = await serve(connection, { port: Number(process.argv[3] ?? 0), authenticate });
console.log(server.url);
