import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { fileURLToPath } from "node:url";
import { callProcess, endProcess } from "../../bench/calls.ts";
import { Authority, type Issued } from "../lab/certificates.ts";
import type { AttackedCalls, AttackedFigures, ListenOptions } from "./server-process.ts";
import type { Pem, SiteName } from "./sites.ts";

/** The package that this file is of. */
export const PACKAGE_URL = new URL("../../", import.meta.url).href;

/** Certificates of the servers, and of clients that are and are not allowed. */
export interface Certificates {
  readonly server: Pem;
  /** The authority of servers and clients. */
  readonly ca: string;
  /** What trusts that authority. */
  readonly trust: SecureContext;
  readonly clients: Readonly<Record<ClientName, Pem>>;
}
/** What is special about a client's certificate. */
export type ClientName = "good" | "expired" | "foreign" | "server" | "self-signed";

/** Makes the certificates, with openssl. */
export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), "virstream-hostile-"));
  try {
    const ours = await Authority.create(join(folder, "ours"), "virstream test");
    const other = await Authority.create(join(folder, "other"), "another");
    const pem = async ({ certificate, key }: Issued): Promise<Pem> => {
      return { cert: await readFile(certificate, "utf8"), key: await readFile(key, "utf8") };
    };
    const server = await pem(await ours.issue({ name: "server", hosts: ["IP:127.0.0.1"] }));
    const ca = await readFile(ours.certificate, "utf8");
    return {
      ...{ server, ca, trust: createSecureContext({ ca }) },
      clients: {
        good: await pem(await ours.issue({ name: "client" })),
        expired: await pem(await ours.issue({ name: "expired", days: -1 })),
        foreign: await pem(await other.issue({ name: "client" })),
        server,
        "self-signed": await pem({ certificate: other.certificate, key: join(other.folder, "cakey.pem") }),
      },
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The process of the servers that are attacked. */
export class AttackedServers implements AsyncDisposable {
  readonly ports: Readonly<Partial<Record<SiteName, number>>>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, ports: Partial<Record<SiteName, number>>) {
    this.#child = child;
    this.ports = ports;
  }

  /** Starts them, with TLS only with certificates. @param uri what they serve */
  static async start(certificates?: Certificates, uri = "test:///default?domains=20"): Promise<AttackedServers> {
    const child = fork(fileURLToPath(new URL("server-process.ts", import.meta.url)), {
      execArgv: ["--expose-gc", "--import", "tsx"],
    });
    const options: ListenOptions = {
      ...{ uri, packageUrl: PACKAGE_URL },
      ...(certificates && { tls: certificates.server, clientCa: certificates.ca }),
    };
    return new AttackedServers(child, await callProcess<AttackedCalls, "listen">(child, "listen", options));
  }

  figures(): Promise<AttackedFigures> {
    return callProcess<AttackedCalls, "figures">(this.#child, "figures");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endProcess(this.#child);
  }
}
