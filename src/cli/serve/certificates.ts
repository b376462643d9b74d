import { VirstreamError } from "../../model/error.ts";
import type { TlsOptions, VirstreamServer } from "../../server/index.ts";
import { notify } from "../notify.ts";
import { readText } from "../source.ts";
import type { ServeArguments } from "./arguments.ts";

type TlsFiles = NonNullable<ServeArguments["tlsFiles"]>;

/** The certificate, the key and the authorities of their files. */
export async function readCertificates({ cert, key, clientCa }: TlsFiles): Promise<TlsOptions> {
  return {
    cert: await readText("certificate", cert, false),
    key: await readText("key", key),
    ...(clientCa !== undefined && {
      clientCa: await readText("certificates of clients' authorities", clientCa, false),
    }),
  };
}

/**
 * Reads the files again at each SIGHUP, and gives them to the servers; with files that are not valid, these keep what they have. Returns
 * a function that ends this.
 */
export function renewAtSignal(files: TlsFiles, servers: readonly VirstreamServer[]): () => void {
  const renew = async (): Promise<void> => {
    try {
      const tls = await readCertificates(files);
      for (const server of servers) server.renew(tls);
      notify(`new connections get the certificate that is in ${files.cert} now`);
    } catch (thrown) {
      const { code, message } = VirstreamError.from(thrown);
      notify(`${message} [${code}]: the server keeps its certificate`);
    }
  };
  const onSignal = (): void => void renew();
  process.on("SIGHUP", onSignal);
  return () => process.off("SIGHUP", onSignal);
}
