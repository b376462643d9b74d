import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Libvirtd, type LibvirtdOptions, startLibvirtd } from "./libvirtd.ts";

/** How many made-up domains, and behind which daemon (default: a new one, with these options). */
export interface TestDriverOptions extends LibvirtdOptions {
  readonly domains: number;
  readonly libvirtd?: Libvirtd;
}

/** libvirt's own test driver with made-up domains, behind a private daemon. */
export interface TestDriver extends AsyncDisposable {
  readonly libvirtd: Libvirtd;
  /** `test+unix:///…` by way of the read-only socket. Every connection gets an instance of its own, with the same uuids. */
  readonly uri: string;
  /** Stops the daemon if it was started for this. */
  stop(): Promise<void>;
}

/**
 * Makes `domains` running domains of libvirt's test driver, named `test-00000` and so on, with uuids that end in their number.
 * They cost no process and no memory to speak of: this is how a daemon with thousands of domains is had.
 */
export async function startTestDriver(options: TestDriverOptions): Promise<TestDriver> {
  const libvirtd = options.libvirtd ?? (await startLibvirtd(options));
  const file = join(libvirtd.directory, `node-${options.domains}.xml`);
  const domains = Array.from({ length: options.domains }, (_, index) => domainXml(index));
  await writeFile(file, `<node>\n${domains.join("\n")}\n</node>\n`);
  const stop = async () => {
    if (options.libvirtd === undefined) await libvirtd.stop();
  };
  return {
    libvirtd,
    uri: `test+unix://${file}?socket=${libvirtd.readOnlySocket}`,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function domainXml(index: number): string {
  return `<domain type="test">
  <name>test-${String(index).padStart(5, "0")}</name>
  <uuid>00000000-0000-4000-8000-${String(index).padStart(12, "0")}</uuid>
  <memory>65536</memory>
  <vcpu>2</vcpu>
  <os><type arch="i686">hvm</type></os>
</domain>`;
}
