import type { MetadataPath } from "./metadata-path.ts";
import type { Element, ParseXml } from "./xml.ts";

/** A disk of a domain. A text that the definition does not have is empty. */
export interface DiskDefinition {
  /** Its name in the guest, such as `vda`. */
  readonly target: string;
  /** True if its medium can be changed: a CD-ROM drive or a floppy drive. */
  readonly removable: boolean;
  /** True if it has a source. An empty drive has none. */
  readonly filled: boolean;
  /** The kind of its source: `file`, `block`, `network`, … */
  readonly type: string;
  readonly bus: string;
  readonly driverName: string;
  readonly driverType: string;
  readonly cache: string;
  readonly discard: string;
  /** The file, if the disk is a file. */
  readonly file: string;
  /** The source in one text: a file, a device, or the name of an image that is read over the network. */
  readonly source: string;
  readonly protocol: string;
  readonly serial: string;
}

/**
 * A network interface of a domain. Interfaces without a name on the host are left out. A text that the definition does
 * not have is empty.
 */
export interface InterfaceDefinition {
  /** Its name on the host, such as `vnet0`. */
  readonly target: string;
  readonly type: string;
  readonly bridge: string;
  readonly mac: string;
  readonly model: string;
  readonly mtu: string;
  /** The interface's id in Open vSwitch; with OpenStack, the uuid of the port. */
  readonly interfaceId: string;
}

/** OpenStack Nova's metadata of an instance. A text that the metadata does not have is empty. */
export interface NovaInstance {
  readonly name: string;
  readonly flavor: string;
  readonly userName: string;
  readonly userId: string;
  readonly projectName: string;
  readonly projectId: string;
  readonly rootType: string;
  readonly rootId: string;
}

/** The parts of a domain's definition that are kept. */
export interface DomainDefinition {
  readonly osType: string;
  readonly arch: string;
  readonly machine: string;
  readonly disks: readonly DiskDefinition[];
  readonly interfaces: readonly InterfaceDefinition[];
  /** Undefined outside OpenStack. */
  readonly nova: NovaInstance | undefined;
  /**
   * The texts found in the definition, by the names of the paths that were given to `definitionReader`. A path without
   * a text is missing.
   */
  readonly metadata: ReadonlyMap<string, string>;
}

/** A text is cut after this many characters, because it becomes a label of a metric. */
const MAX_TEXT = 1_024;
const NOVA = "http://openstack.org/xmlns/libvirt/nova/";

/**
 * Returns a function that reads a domain's definition. This function throws a VirstreamError `protocol-error` for text
 * that is not a domain's definition.
 */
export function definitionReader(
  parse: ParseXml,
  paths: readonly MetadataPath[] = [],
): (xml: string) => DomainDefinition {
  return (xml) => {
    const domain = parse(xml);
    const type = find(domain, "os", "type");
    const devices = find(domain, "devices");
    const instance = find(domain, "metadata")?.children.find(
      ({ name, namespace }) => name === "instance" && namespace.startsWith(NOVA),
    );
    const metadata = new Map<string, string>();
    for (const path of paths) {
      const value = path.find(domain);
      if (value !== undefined && value !== "") metadata.set(path.name, value.slice(0, MAX_TEXT));
    }
    return {
      osType: textOf(type),
      arch: attribute(type, "arch"),
      machine: attribute(type, "machine"),
      disks: all(devices, "disk")
        .map(diskOf)
        .filter(({ target }) => target !== ""),
      interfaces: all(devices, "interface")
        .map(interfaceOf)
        .filter(({ target }) => target !== ""),
      nova: instance && novaOf(instance),
      metadata,
    };
  };
}

function diskOf(disk: Element): DiskDefinition {
  const [driver, source, target] = [find(disk, "driver"), find(disk, "source"), find(disk, "target")];
  const device = attribute(disk, "device");
  const [file, dev, name] = [attribute(source, "file"), attribute(source, "dev"), attribute(source, "name")];
  return {
    target: attribute(target, "dev"),
    removable: device === "cdrom" || device === "floppy",
    filled: source !== undefined,
    type: attribute(disk, "type"),
    bus: attribute(target, "bus"),
    driverName: attribute(driver, "name"),
    driverType: attribute(driver, "type"),
    cache: attribute(driver, "cache"),
    discard: attribute(driver, "discard"),
    file,
    source: file || dev || name,
    protocol: attribute(source, "protocol"),
    serial: textOf(find(disk, "serial")),
  };
}

function interfaceOf(nic: Element): InterfaceDefinition {
  return {
    target: attribute(find(nic, "target"), "dev"),
    type: attribute(nic, "type"),
    bridge: attribute(find(nic, "source"), "bridge"),
    mac: attribute(find(nic, "mac"), "address"),
    model: attribute(find(nic, "model"), "type"),
    mtu: attribute(find(nic, "mtu"), "size"),
    interfaceId: attribute(find(nic, "virtualport", "parameters"), "interfaceid"),
  };
}

function novaOf(instance: Element): NovaInstance {
  const [user, project] = [find(instance, "owner", "user"), find(instance, "owner", "project")];
  const root = find(instance, "root");
  return {
    name: textOf(find(instance, "name")),
    flavor: attribute(find(instance, "flavor"), "name"),
    userName: textOf(user),
    userId: attribute(user, "uuid"),
    projectName: textOf(project),
    projectId: attribute(project, "uuid"),
    rootType: attribute(root, "type"),
    rootId: attribute(root, "uuid"),
  };
}

/**
 * Follows a path of names: goes, for each name, to the first child that has this name. Returns undefined if there is no
 * such child.
 */
function find(from: Element | undefined, ...names: readonly string[]): Element | undefined {
  return names.reduce((element, name) => element?.children.find((child) => child.name === name), from);
}

function all(parent: Element | undefined, name: string): readonly Element[] {
  return parent?.children.filter((child) => child.name === name) ?? [];
}

function attribute(element: Element | undefined, name: string): string {
  return (element?.attributes.get(name) ?? "").slice(0, MAX_TEXT);
}

function textOf(element: Element | undefined): string {
  return (element?.text ?? "").slice(0, MAX_TEXT);
}
