import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { daemonOf, type SocketPlace } from "../drivers/libvirt/transport/unix.ts";

/** The settings that matter here, as a daemon's configuration file has them; the daemon read it when it started. */
export interface Configuration {
  /** The file. */
  readonly path: string;
  /** Those that it sets; undefined where it may not be read. */
  readonly settings: Partial<Record<Setting, number>> | undefined;
}

/** The settings that bear on virstream. */
export const SETTINGS = ["max_client_requests", "max_workers", "max_clients", "keepalive_interval"] as const;
/** One of them. */
export type Setting = (typeof SETTINGS)[number];

/** libvirt's defaults of the settings. */
export const DEFAULTS: Readonly<Record<Setting, number>> = {
  max_client_requests: 5,
  max_workers: 20,
  max_clients: 5_000,
  keepalive_interval: 5,
};

/** Where the configuration of the daemons lies. */
export interface ConfigurationPlace {
  readonly systemFolder: string;
  readonly userFolder: string;
}

/** Where libvirt's own daemons look for it. */
export function configurationPlace(): ConfigurationPlace {
  const own = process.env["XDG_CONFIG_HOME"] || join(homedir(), ".config");
  return { systemFolder: "/etc/libvirt", userFolder: join(own, "libvirt") };
}

/**
 * The configuration of the daemon behind a socket, if it is known where that is: a socket somewhere else belongs to a
 * daemon that was told where, and so was its configuration.
 */
export async function readConfiguration(
  socket: string,
  sockets: SocketPlace,
  place: ConfigurationPlace,
): Promise<Configuration | undefined> {
  const folder = dirname(socket);
  const own = folder === sockets.userFolder;
  if (!own && !sockets.systemFolders.includes(folder)) return undefined;
  const path = join(own ? place.userFolder : place.systemFolder, `${daemonOf(socket)}.conf`);
  try {
    return { path, settings: parseConfiguration(await readFile(path, "utf8")) };
  } catch (error) {
    // A daemon without a file has the defaults.
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return { path, settings: missing ? {} : undefined };
  }
}

/** The settings that a configuration file sets, in libvirt's format: `name = value`, one a line. */
export function parseConfiguration(text: string): Partial<Record<Setting, number>> {
  const settings: Partial<Record<Setting, number>> = {};
  for (const [, name, value] of text.matchAll(/^[ \t]*(\w+)[ \t]*=[ \t]*(-?\d+)/gm)) {
    if ((SETTINGS as readonly string[]).includes(name!)) settings[name as Setting] = Number(value);
  }
  return settings;
}
