/** @module-tag any-node */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT, UnsecuredJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../src/index.ts";
import { codeOf } from "../code-of.ts";

const AUDIENCE = "virstream";
const SIGNED = { kid: "first", alg: "RS256" };
/** From now, in s. */
const soon = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

describe("The example of OpenID Connect", () => {
  const published: JWK[] = [];
  const keys: Record<string, CryptoKey> = {};
  let issuer = "";
  let url = "";
  let provider: ReturnType<typeof createServer>;
  let example: ReturnType<typeof spawn>;
  let isDown = false;

  const make = async (kid: string, alg = "RS256"): Promise<JWK> => {
    const { publicKey, privateKey } = await generateKeyPair(alg);
    keys[kid] = privateKey;
    return { ...(await exportJWK(publicKey)), kid, alg, use: "sig" };
  };

  beforeAll(async () => {
    published.push(await make("first"));
    await make("strange");
    provider = createServer((request, response) => {
      const isKeys = request.url === "/keys";
      const configuration = { issuer, jwks_uri: `${issuer}/keys` };
      response.statusCode = isDown ? 503 : 200;
      response.end(JSON.stringify(isKeys ? { keys: published } : configuration));
    }).listen(0, "127.0.0.1");
    await once(provider, "listening");
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
    const file = fileURLToPath(new URL("../../examples/13-openid.mjs", import.meta.url));
    const env = { ...process.env, ISSUER: issuer, AUDIENCE, JWKS_COOLDOWN_MS: "0" };
    example = spawn(process.execPath, [file], { env, stdio: ["ignore", "pipe", "ignore"] });
    [url] = await once(createInterface(example.stdout!), "line");
  });

  afterAll(async () => {
    example.kill("SIGKILL");
    await once(example, "close");
    provider.closeAllConnections();
    provider.close();
  });

  /** A token of the provider, with other claims and another header if need be. */
  function sign(
    claims: Record<string, unknown>,
    { by = "first", ...header }: { by?: string; alg?: string; kid?: string } = {},
  ) {
    const payload = { iss: issuer, aud: AUDIENCE, sub: "ann", exp: soon(60), ...claims };
    return new SignJWT(payload).setProtectedHeader({ ...SIGNED, ...header }).sign(keys[by]!);
  }

  async function namesOf(token: string, groups = {}): Promise<string[]> {
    await using connection = await connect(url, { token });
    return (await connection.getAllDomainStats(groups)).map(({ domain }) => domain.name).sort();
  }

  async function statusOf(page: string, token: string): Promise<number> {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${url.replace("ws:", "http:")}${page}`, { headers });
    await response.arrayBuffer();
    return response.status;
  }

  it("shows what a token's claims permit, of domains, names, groups, roles and time", async () => {
    expect(await namesOf(await sign({ vm_role: "admin" }))).toHaveLength(5);
    expect(await namesOf(await sign({ vm_domains: ["guest-00001"] }))).toEqual(["guest-00001"]);
    expect(await namesOf(await sign({ vm_names: ["*[34]"] }))).toEqual(["guest-00003", "guest-00004"]);
    const ofState = await sign({ vm_role: "stats", vm_groups: ["state"] });
    expect(await namesOf(ofState, { groups: ["state"] })).toHaveLength(5);
    expect(await codeOf(namesOf(ofState, { groups: ["block"] }))).toBe("denied");
    const [admin, scraper] = [await sign({ vm_role: "admin" }), await sign({ vm_role: "metrics" })];
    expect([await statusOf("/metrics", admin), await statusOf("/stats.json", admin)]).toEqual([200, 200]);
    expect([await statusOf("/metrics", scraper), await statusOf("/stats.json", scraper)]).toEqual([200, 403]);
    expect(await codeOf(namesOf(scraper))).toBe("unauthenticated");
    // At the end of a token the client gets another one, and its watch continues.
    let asked = 0;
    const token = () => sign({ vm_role: "stats", exp: soon(asked++ === 0 ? 5 : 600) });
    await using connection = await connect(url, { token });
    for await (const event of connection.watch().events) if (event.type === "sync" && asked === 2) break;
  });

  it("refuses every token that is not the provider's, not for it, or no longer valid", async () => {
    const good = { vm_role: "admin" };
    const [head, body, signature] = (await sign(good)).split(".") as [string, string, string];
    const forged = Buffer.from(
      JSON.stringify({ ...JSON.parse(Buffer.from(body, "base64url").toString()), sub: "eve" }),
    );
    const publicText = new TextEncoder().encode(JSON.stringify(published[0]));
    const claims = { iss: issuer, aud: AUDIENCE, sub: "ann", exp: soon(60), ...good };
    const tokens: Record<string, string> = {
      expired: await sign({ ...good, exp: soon(-1) }),
      "not yet valid": await sign({ ...good, nbf: soon(60) }),
      "of another audience": await sign({ ...good, aud: "grafana" }),
      "of another issuer": await sign({ ...good, iss: "https://evil.example" }),
      "without an end": await sign({ ...good, exp: undefined }),
      "without a subject": await sign({ ...good, sub: undefined }),
      "without a signature": new UnsecuredJWT(claims).encode(),
      "with an empty signature": `${head}.${body}.`,
      "with another body": `${head}.${forged.toString("base64url")}.${signature}`,
      "signed by a stranger's key": await sign(good, { by: "strange" }),
      "signed by an unknown key": await sign(good, { by: "strange", kid: "strange" }),
      "signed with the public key as a secret": await new SignJWT(claims)
        .setProtectedHeader({ ...SIGNED, alg: "HS256" })
        .sign(publicText),
      "without rights": await sign({}),
      "no token": "admin",
      empty: "",
    };
    const codes = await Promise.all(Object.values(tokens).map((token) => codeOf(namesOf(token))));
    expect(codes).toEqual(codes.map(() => "unauthenticated"));
    for (const token of Object.values(tokens)) expect(await statusOf("/stats.json", token)).toBe(401);
    // Claims of a wrong kind show nothing either.
    for (const claims of [{ vm_domains: "guest-00001" }, { vm_role: "root" }, { vm_role: "admin", vm_names: ["*"] }]) {
      expect(await codeOf(namesOf(await sign(claims)))).toBe("internal");
    }
  });

  it("takes the tokens of a new key when the provider rotates its keys, and none of the old one from then on", async () => {
    const old = await sign({ vm_role: "admin" });
    expect(await namesOf(old)).toHaveLength(5);
    published.splice(0, 1, await make("second", "ES256"));
    const next = await sign({ vm_role: "admin" }, { by: "second", kid: "second", alg: "ES256" });
    expect(await namesOf(next)).toHaveLength(5);
    expect(await codeOf(namesOf(old))).toBe("unauthenticated");
  });

  it("lets a client try again, and shows it nothing, while the provider does not answer", async () => {
    isDown = true;
    await make("third");
    const token = await sign({ vm_role: "admin" }, { by: "third", kid: "third" });
    expect(await codeOf(connect(url, { token, connectTimeoutMs: 300 }))).toBe("connect-timeout");
    isDown = false;
  });
});
