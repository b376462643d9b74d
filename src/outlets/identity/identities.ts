import { withTimeout } from "../../driver/clock.ts";
import type { Description, Descriptions } from "../../driver/description.ts";
import type { Driver } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Domain } from "../../model/record.ts";
import { type DomainDefinition, definitionReader } from "./definition.ts";
import { MetadataPath } from "./metadata-path.ts";
import { loadXmlParser } from "./xml.ts";

/**
 * Facts about domains that are read only on request, because they cost the hypervisor more calls. `blkiotune`: the I/O
 * limits of disks, which cost a call for each disk. `vcpu-cpu`: the CPUs that virtual CPUs run on, which cost a call
 * for each domain every 20 s.
 */
export const EXTRAS = ["blkiotune", "vcpu-cpu"] as const;

/** Says what to read about domains besides their statistics. */
export interface IdentityOptions {
  /** Texts of the definition that become labels, each as `NAME=PATH`; see MetadataPath. */
  readonly metadata?: readonly string[];
  /** Any of EXTRAS; other texts have no effect. */
  readonly extras?: readonly string[];
}

/**
 * The identities of a connection's domains: facts from their definitions, such as their disks and interfaces. Nothing
 * is read before `open` is called. If the driver cannot read definitions, or the XML parser is not installed, no domain
 * has an identity.
 */
export class Identities {
  readonly #driver: Driver;
  readonly #paths: readonly MetadataPath[];
  readonly #extras: readonly string[];
  #loading: Promise<void> | undefined;
  #descriptions: Descriptions<DomainDefinition> | undefined;
  #failure: VirstreamError | undefined;
  #closed = false;

  /** @throws VirstreamError `invalid-argument` for a path that is not valid */
  constructor(driver: Driver, { metadata = [], extras = [] }: IdentityOptions = {}) {
    this.#driver = driver;
    this.#paths = metadata.map((text) => new MetadataPath(text));
    this.#extras = extras;
  }

  /** Begins to read identities. Resolves with the error if nothing can be read, otherwise with undefined. */
  async open(): Promise<VirstreamError | undefined> {
    this.#loading ??= this.#load();
    await this.#loading;
    return this.#failure;
  }

  /**
   * The domain's description; undefined while it is not known, and always before `open`. The call also requests the
   * description.
   */
  of(domain: Domain): Description<DomainDefinition> | undefined {
    return this.#descriptions?.of(domain);
  }

  /**
   * Waits until the identities of these domains have been read, or could not be read, but no longer than this many ms.
   */
  async read(domains: Iterable<Domain>, timeoutMs: number): Promise<void> {
    for (const domain of domains) this.of(domain);
    await withTimeout(this.#descriptions?.settled() ?? Promise.resolve(), timeoutMs, () => {});
  }

  /** Ends reading. Safe to call twice. */
  close(): void {
    this.#closed = true;
    this.#descriptions?.close();
  }

  async #load(): Promise<void> {
    if (this.#driver.describe === undefined) {
      const message = `${this.#driver.uri} gives no definitions of domains: virstream must be connected to their hypervisor itself`;
      this.#failure = new VirstreamError("unsupported", message);
      return;
    }
    try {
      const parse = definitionReader(await loadXmlParser(), this.#paths);
      if (this.#closed) return;
      const extras = new Set(this.#extras);
      this.#descriptions = this.#driver.describe({
        parse,
        ...(extras.has("blkiotune") && { limitedDisks: limitedDisks }),
        placement: extras.has("vcpu-cpu"),
      });
    } catch (error) {
      this.#failure = VirstreamError.from(error);
    }
  }
}

function limitedDisks({ disks }: DomainDefinition): readonly string[] {
  return disks.filter(({ filled, removable }) => filled && !removable).map(({ target }) => target);
}
