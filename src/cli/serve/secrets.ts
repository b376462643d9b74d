import { createHash } from "node:crypto";
import { VirstreamError } from "../../model/error.ts";
import { type ServeOptions, type TlsOptions, TokenList, type VirstreamServer } from "../../server/index.ts";
import { notify } from "../notify.ts";
import { readText, readToken } from "../source.ts";
import { readTokens } from "../token/token-file.ts";
import type { ServeArguments } from "./arguments.ts";

/** The name of the token of `--token-file` among those of `--tokens`. */
const MAIN = "token-file";

/** What servers read from files with secrets: certificates and tokens. SIGHUP makes them read the files again. */
export class Secrets {
  #args: ServeArguments;
  #tokens: TokenList | undefined;
  #tls: TlsOptions | undefined;

  private constructor(args: ServeArguments) {
    this.#args = args;
  }

  /** @throws VirstreamError `invalid-argument` for a file that cannot be read or is not valid */
  static async read(args: ServeArguments): Promise<Secrets> {
    const secrets = new Secrets(args);
    secrets.#tokens = await tokensOf(args);
    secrets.#tls = await certificatesOf(args);
    return secrets;
  }

  /** The options of a server. */
  get options(): Pick<ServeOptions, "tls" | "authenticate"> {
    return {
      ...(this.#tls !== undefined && { tls: this.#tls }),
      ...(this.#tokens !== undefined && { authenticate: (_, token) => this.#tokens?.principalOf(token) }),
    };
  }

  /**
   * Other files are to be read from now on. Whether there are tokens and certificates at all stays as it is: a mistake in a file must not
   * open the server to everybody. Returns false if that differs.
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
   * Reads the files again at each SIGHUP. Clients whose tokens were revoked or have other rights now are disconnected. From a file that
   * is not valid, nothing changes. Returns a function that ends this.
   *
   * @param around called with each reload, which it must begin
   * @param first called before the files are read
   */
  reloadAtSignal(
    servers: readonly VirstreamServer[],
    around: (reload: () => Promise<void>) => void,
    first: () => Promise<void>,
  ): () => void {
    // One after the other: the last to read must have the newest files.
    let last: Promise<void> = Promise.resolve();
    const reload = (): Promise<void> => {
      last = last.then(async () => {
        await this.#attempt(first, "the server keeps its configuration");
        await this.#attempt(() => this.#reloadTokens(servers), "the server keeps its tokens");
        await this.#attempt(() => this.#reloadCertificates(servers), "the server keeps its certificate");
      });
      return last;
    };
    const onSignal = (): void => around(reload);
    process.on("SIGHUP", onSignal);
    return () => process.off("SIGHUP", onSignal);
  }

  async #attempt(reload: () => Promise<void>, otherwise: string): Promise<void> {
    try {
      await reload();
    } catch (thrown) {
      const { code, message } = VirstreamError.from(thrown);
      notify(`${message} [${code}]: ${otherwise}`);
    }
  }

  async #reloadTokens(servers: readonly VirstreamServer[]): Promise<void> {
    const before = this.#tokens;
    if (before === undefined) return;
    const now = (await tokensOf(this.#args))!;
    this.#tokens = now;
    const changed = before.changedIn(now);
    const ended = changed.flatMap((name) => servers.map((server) => server.disconnect(name)));
    const clients = ended.reduce((sum, n) => sum + n, 0);
    notify(`tokens now: ${now.entries.length}; clients of changed ones, which must authenticate again: ${clients}`);
  }

  async #reloadCertificates(servers: readonly VirstreamServer[]): Promise<void> {
    if (this.#tls === undefined) return;
    const tls = (await certificatesOf(this.#args))!;
    for (const server of servers) if (!server.url.startsWith("ws+unix:")) server.renew(tls);
    this.#tls = tls;
    notify(`new connections get the certificate that is in ${this.#args.tlsFiles!.cert} now`);
  }
}

/** The tokens; undefined: there are none, and every client may read everything. */
async function tokensOf({ tokenFile, tokensFile }: ServeArguments): Promise<TokenList | undefined> {
  const main = await readToken(tokenFile, process.env);
  const { entries } = tokensFile === undefined ? new TokenList([]) : await readTokens(tokensFile);
  if (main === undefined) return tokensFile === undefined ? undefined : new TokenList(entries);
  const sha256 = createHash("sha256").update(main).digest("hex");
  return new TokenList([...entries, { name: MAIN, role: "admin", sha256 }]);
}

async function certificatesOf({ tlsFiles }: ServeArguments): Promise<TlsOptions | undefined> {
  if (tlsFiles === undefined) return undefined;
  const { cert, key, clientCa } = tlsFiles;
  return {
    cert: await readText("certificate", cert, false),
    key: await readText("key", key),
    ...(clientCa !== undefined && { clientCa: await readText("file of clients' authorities", clientCa, false) }),
  };
}
