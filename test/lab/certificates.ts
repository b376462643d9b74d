import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mustRun } from "./command.ts";

/** A certificate with its key, as files. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

/** What a certificate says. */
export interface CertificateOptions {
  /** Its common name; it is the file's name, too. */
  readonly name: string;
  /** What it is for: the names and addresses of a server, as `DNS:localhost` or `IP:127.0.0.1`; none for a client. */
  readonly hosts?: readonly string[];
  /** For how long it is valid; negative for one that has expired. Default 1. */
  readonly days?: number;
}

/** A certificate authority of the tests' own, made by openssl, in a folder. */
export class Authority {
  readonly folder: string;
  /** Its own certificate. */
  readonly certificate: string;
  readonly #key: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.certificate = join(folder, "cacert.pem");
    this.#key = join(folder, "cakey.pem");
  }

  /** Makes the folder, and in it an authority of this name. */
  static async create(folder: string, name: string): Promise<Authority> {
    await mkdir(folder, { recursive: true });
    const authority = new Authority(folder);
    const files = ["-keyout", authority.#key, "-out", authority.certificate];
    const extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
    await openssl(
      "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj".split(" "),
      [`/CN=${name}`, ...files],
      extensions.flatMap((line) => ["-addext", line]),
    );
    return authority;
  }

  /** Issues a certificate for a server (with `hosts`) or a client. */
  async issue({ name, hosts = [], days = 1 }: CertificateOptions): Promise<Issued> {
    const base = join(this.folder, name.replaceAll(/\W/g, "-"));
    const issued = { certificate: `${base}.cert.pem`, key: `${base}.key.pem` };
    const lines = [
      "basicConstraints=critical,CA:FALSE",
      // The second is of no use to an elliptic key; libvirtd wants it all the same.
      "keyUsage=critical,digitalSignature,keyEncipherment",
      `extendedKeyUsage=${hosts.length > 0 ? "serverAuth" : "clientAuth"}`,
      ...(hosts.length > 0 ? [`subjectAltName=${hosts.join(",")}`] : []),
    ];
    await writeFile(`${base}.ext`, `${lines.join("\n")}\n`);
    await openssl("req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj".split(" "), [
      `/O=Lab/CN=${name}`,
      "-keyout",
      issued.key,
      "-out",
      `${base}.csr`,
    ]);
    await openssl(
      ["x509", "-req", "-in", `${base}.csr`, "-out", issued.certificate, "-days", String(days)],
      ["-CA", this.certificate, "-CAkey", this.#key, "-CAcreateserial", "-extfile", `${base}.ext`],
    );
    return issued;
  }

  /** Writes a list of revoked certificates that has this one. */
  async revoke({ certificate }: Issued, list: string): Promise<void> {
    const index = join(this.folder, "index.txt");
    const conf = join(this.folder, "ca.conf");
    await writeFile(index, "");
    await writeFile(
      conf,
      `[ca]\ndefault_ca = lab\n[lab]\ndatabase = ${index}\ndefault_md = sha256\ndefault_crl_days = 1\n`,
    );
    const ca = ["ca", "-config", conf, "-cert", this.certificate, "-keyfile", this.#key];
    await openssl(ca, ["-revoke", certificate]);
    await openssl(ca, ["-gencrl", "-out", list]);
  }
}

async function openssl(...args: string[][]): Promise<void> {
  await mustRun("openssl", args.flat());
}
