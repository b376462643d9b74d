import type { DiskDefinition, DomainDefinition, InterfaceDefinition, NovaInstance } from "../../identity/definition.ts";
import { type AddSample, type Family, ofRow } from "../family.ts";
import type { Row } from "../row.ts";
import { labelText } from "../row.ts";

type Labels = Readonly<Record<string, string>>;

/**
 * Makes a family whose samples have the value 1, and a domain's identity as labels. `labelsOf` is called only for rows
 * whose definition is known.
 */
function info(
  name: string,
  dialect: Family["dialect"],
  help: string,
  labelsOf: (definition: DomainDefinition, row: Row) => Iterable<Labels>,
): Family {
  const write = (row: Row, add: AddSample): void => {
    if (row.description === undefined) return;
    const texts = Array.from(
      labelsOf(row.description.definition, row),
      (labels) => `${row.labels},${labelText(labels)}`,
    );
    // If a definition named a device twice, the page would have the same series twice, and Prometheus would refuse the
    // whole page.
    for (const text of new Set(texts)) add(text, 1);
  };
  return ofRow(name, help, write, dialect);
}

const NO_NOVA: NovaInstance = {
  ...{ name: "", flavor: "", userName: "", userId: "", projectName: "", projectId: "", rootType: "", rootId: "" },
};

function fixedDisks({ disks }: DomainDefinition): readonly DiskDefinition[] {
  return disks.filter(({ removable }) => !removable);
}

function bridged({ interfaces }: DomainDefinition): readonly InterfaceDefinition[] {
  return interfaces.filter(({ bridge, interfaceId }) => bridge !== "" || interfaceId !== "");
}

/**
 * The families that describe a domain, its disks and its interfaces. Each dialect has the labels of the exporter that
 * it is named after.
 */
export const IDENTITY_FAMILIES: readonly Family[] = [
  info(
    "libvirt_domain_info_meta",
    "tinkoff",
    "The domain's uuid, and what OpenStack says of it; empty outside OpenStack.",
    ({ nova = NO_NOVA }, { record }) => [
      {
        uuid: record.domain.uuid,
        instance_name: nova.name,
        flavor: nova.flavor,
        user_name: nova.userName,
        user_uuid: nova.userId,
        project_name: nova.projectName,
        project_uuid: nova.projectId,
        root_type: nova.rootType,
        root_uuid: nova.rootId,
      },
    ],
  ),
  info("libvirt_domain_block_meta", "tinkoff", "What a disk is.", (definition) =>
    fixedDisks(definition).map(({ target, source, serial, bus, type, driverType, cache, discard }) => ({
      target_device: target,
      source_file: source,
      serial,
      bus,
      disk_type: type,
      driver_type: driverType,
      cache,
      discard,
    })),
  ),
  info(
    "libvirt_domain_interface_meta",
    "tinkoff",
    "What a network interface is connected to; only for one with a bridge or an id in Open vSwitch.",
    (definition) =>
      bridged(definition).map(({ target, bridge, interfaceId }) => ({
        source_bridge: bridge,
        target_device: target,
        virtual_interface: interfaceId,
      })),
  ),
  info("libvirt_domain_info", "inovex", "What kind of machine the domain is.", ({ osType, arch, machine }) => [
    { os_type: osType, os_type_arch: arch, os_type_machine: machine },
  ]),
  info(
    "libvirt_domain_openstack_info",
    "inovex",
    "The domain's uuid, and what OpenStack says of it; empty outside OpenStack.",
    ({ nova = NO_NOVA }, { record }) => [
      {
        instance_name: nova.name,
        instance_id: record.domain.uuid,
        flavor_name: nova.flavor,
        user_name: nova.userName,
        user_id: nova.userId,
        project_name: nova.projectName,
        project_id: nova.projectId,
      },
    ],
  ),
  info("libvirt_domain_block_stats_info", "inovex", "What a disk is.", (definition) =>
    fixedDisks(definition).map((disk) => ({
      disk_type: disk.type,
      target_bus: disk.bus,
      driver_name: disk.driverName,
      driver_type: disk.driverType,
      driver_cache: disk.cache,
      driver_discard: disk.discard,
      source_file: disk.file,
      source_protocol: disk.protocol,
      target_device: disk.target,
      serial: disk.serial,
    })),
  ),
  info("libvirt_domain_interface_stats_info", "inovex", "What a network interface is.", ({ interfaces }) =>
    interfaces.map((nic) => ({
      interface_type: nic.type,
      source_bridge: nic.bridge,
      target_device: nic.target,
      mac_address: nic.mac,
      model_type: nic.model,
      mtu_size: nic.mtu,
    })),
  ),
  info(
    "libvirt_domain_metadata_info",
    undefined,
    "Texts of the domain's definition that were asked for.",
    ({ metadata }) => (metadata.size === 0 ? [] : [Object.fromEntries(metadata)]),
  ),
];
