import { hashOf } from "../../server/access/token-list.ts";
import { type ServeOptions, type TlsOptions, TokenList, type VirstreamServer } from "../../server/index.ts";
import { checkTls } from "../../server/listening/http-server.ts";
import { readText, readToken, type Warn } from "../source.ts";
import { readTokens } from "../token/token-file.ts";
import type { ServeArguments } from "./arguments.ts";
import type { ServeLog } from "./log.ts";

/** What error messages call the file of `--tls-client-ca`. */
const CLIENT_CA = "file of clients' authorities";
/** The name of the token of `--token-file` in the list of tokens. The list also has the tokens of `--tokens`. */
const MAIN = "token-file";

/** The secrets that servers read from files: certificates and tokens. SIGHUP makes the servers read the files again. */
export class Secrets {
  #args: ServeArguments;
  readonly #warn: Warn | undefined;
  #tokens: TokenList | undefined;
  #tls: TlsOptions | undefined;

  private constructor(args: ServeArguments, warn: Warn | undefined) {
    this.#args = args;
    this.#warn = warn;
  }

  /**
   * @param warn see readText()
   * @throws VirstreamError `invalid-argument` for a file that cannot be read or is not valid
   */
  static async read(args: ServeArguments, warn?: Warn): Promise<Secrets> {
    const secrets = new Secrets(args, warn);
    secrets.#tokens = await tokensOf(args, warn);
    secrets.#tls = await certificatesOf(args, warn);
    return secrets;
  }

  /** The options of `serve()` that the files give. */
  get options(): Pick<ServeOptions, "tls" | "authenticate"> {
    return {
      ...(this.#tls !== undefined && { tls: this.#tls }),
      ...(this.#tokens !== undefined && { authenticate: (_, token) => this.#tokens?.principalOf(token) }),
    };
  }

  /**
   * Uses the files that these arguments name from now on. Returns false, and changes nothing, if the server would then
   * use tokens or certificates for the first time, or would use none any more: a mistake in a file must not open the
   * server to everybody.
   */
  replaceFiles(args: ServeArguments): boolean {
    const isGuarded =
      (args.tokensFile ?? args.tokenFile ?? (process.env["VIRSTREAM_TOKEN"] || undefined)) !== undefined;
    if (isGuarded !== (this.#tokens !== undefined)) return false;
    const { tlsFiles } = this.#args;
    if ((args.tlsFiles === undefined) !== (tlsFiles === undefined)) return false;
    if ((args.tlsFiles?.clientCa === undefined) !== (tlsFiles?.clientCa === undefined)) return false;
    this.#args = args;
    return true;
  }

  /**
   * Reads the files again at each SIGHUP. Clients whose tokens were revoked or have other rights now are disconnected.
   * If a file is not valid, its earlier content stays in force. Returns a function that ends the reloading.
   *
   * @param around called at each reload with the function that reloads the files; `around` must call this function
   * @param first called before the files are read
   */
  reloadAtSignal(
    servers: readonly VirstreamServer[],
    log: ServeLog,
    around: (reload: () => Promise<void>) => void,
    first: () => Promise<void>,
  ): () => void {
    // Reloads run one after the other, so that the last reload reads the newest files.
    let last: Promise<void> = Promise.resolve();
    const reload = (): Promise<void> => {
      last = last.then(async () => {
        await attempt(log, first, "the server keeps its configuration");
        await attempt(log, () => this.#reloadTokens(servers, log), "the server keeps its tokens");
        await attempt(log, () => this.#reloadCertificates(servers, log), "the server keeps its certificate");
      });
      return last;
    };
    const onSignal = (): void => {
      log.say("reloading", "reading the configuration, tokens and certificates again");
      around(reload);
    };
    process.on("SIGHUP", onSignal);
    return () => process.off("SIGHUP", onSignal);
  }

  async #reloadTokens(servers: readonly VirstreamServer[], log: ServeLog): Promise<void> {
    const before = this.#tokens;
    if (before === undefined) return;
    const now = (await tokensOf(this.#args, this.#warn))!;
    this.#tokens = now;
    const changed = before.changedIn(now);
    const ended = changed.flatMap((name) => servers.map((server) => server.disconnect(name)));
    const [tokens, disconnected] = [now.entries.length, ended.reduce((sum, n) => sum + n, 0)];
    const valid = `${tokens === 1 ? "1 token is" : `${tokens} tokens are`} valid now`;
    const clients = disconnected === 1 ? "1 client" : `${disconnected} clients`;
    const and = disconnected === 0 ? "" : `; ${clients} of changed or revoked tokens must authenticate again`;
    log.say("tokens-read", `${valid}${and}`, { tokens, disconnected });
  }

  async #reloadCertificates(servers: readonly VirstreamServer[], log: ServeLog): Promise<void> {
    if (this.#tls === undefined) return;
    const tls = (await certificatesOf(this.#args, this.#warn))!;
    for (const server of servers) if (!server.url.startsWith("ws+unix:")) server.renew(tls);
    this.#tls = tls;
    const file = this.#args.tlsFiles!.cert;
    log.say("certificate-read", `new connections get the certificate that is in ${file} now`, { file });
  }
}

/** Reads something again. If this fails, the earlier value stays. */
async function attempt(log: ServeLog, reload: () => Promise<void>, otherwise: string): Promise<void> {
  try {
    await reload();
  } catch (thrown) {
    log.fail("reload-failed", thrown, `: ${otherwise}`);
  }
}

/**
 * The tokens; undefined if neither a token nor a file of tokens is configured. Every client may then read everything.
 */
async function tokensOf({ tokenFile, tokensFile }: ServeArguments, warn?: Warn): Promise<TokenList | undefined> {
  const main = await readToken(tokenFile, process.env, warn);
  const { entries } = tokensFile === undefined ? new TokenList([]) : await readTokens(tokensFile, warn);
  if (main === undefined) return tokensFile === undefined ? undefined : new TokenList(entries);
  return new TokenList([...entries, { name: MAIN, role: "admin", sha256: hashOf(main).toString("hex") }]);
}

async function certificatesOf({ tlsFiles }: ServeArguments, warn?: Warn): Promise<TlsOptions | undefined> {
  if (tlsFiles === undefined) return undefined;
  const { cert, key, clientCa } = tlsFiles;
  const tls = {
    cert: await readText("certificate", cert, null),
    key: await readText("key", key, warn),
    ...(clientCa !== undefined && { clientCa: await readText(CLIENT_CA, clientCa, null) }),
  };
  checkTls(tls, { cert: `the certificate ${cert}`, key: `the key ${key}`, clientCa: `the ${CLIENT_CA} ${clientCa}` });
  return tls;
}
