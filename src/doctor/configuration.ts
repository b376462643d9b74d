import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { daemonOf, type SocketPlace } from "../drivers/libvirt/transport/unix.ts";

/** libvirt's default for each setting of a daemon that affects virstream. Every daemon has the same defaults. */
export const DEFAULTS = {
  max_client_requests: 5,
  max_workers: 20,
  max_clients: 5_000,
  keepalive_interval: 5,
} as const;
/** The name of a setting. */
export type Setting = keyof typeof DEFAULTS;
/** The value of each setting. */
export type Settings = Readonly<Record<Setting, number>>;

/** A daemon's configuration file. The daemon reads the file only when the daemon starts. */
export interface Configuration {
  readonly path: string;
  /** Each setting's value in the file, or else libvirt's default; undefined if this user cannot read the file. */
  readonly settings: Settings | undefined;
}

/** The folders that hold the configuration files. */
export interface ConfigurationPlace {
  readonly systemFolder: string;
  readonly userFolder: string;
}

/** The folders that libvirt's daemons use by default. */
export function configurationPlace(): ConfigurationPlace {
  const own = process.env["XDG_CONFIG_HOME"] || join(homedir(), ".config");
  return { systemFolder: "/etc/libvirt", userFolder: join(own, "libvirt") };
}

/**
 * Reads the configuration of the daemon that serves a socket. The result is undefined when the socket is in none of
 * libvirt's default folders. Such a daemon has non-default options, and its configuration file may be anywhere.
 */
export async function readConfiguration(
  socket: string,
  sockets: SocketPlace,
  place: ConfigurationPlace,
): Promise<Configuration | undefined> {
  // On most machines /var/run is a link to /run, so both names mean the same folder.
  const folder = dirname(socket).replace(/^\/var(?=\/run\/)/, "");
  const own = folder === sockets.userFolder;
  if (!own && !sockets.systemFolders.includes(folder)) return undefined;
  const path = join(own ? place.userFolder : place.systemFolder, `${daemonOf(socket)}.conf`);
  try {
    return { path, settings: parseConfiguration(await readFile(path, "utf8")) };
  } catch (error) {
    // A daemon without a configuration file uses the defaults.
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return { path, settings: missing ? DEFAULTS : undefined };
  }
}

/** Parses libvirt's format: one `name = value` per line. A setting that is commented out has its default. */
export function parseConfiguration(text: string): Settings {
  const settings: Record<Setting, number> = { ...DEFAULTS };
  for (const [, name, value] of text.matchAll(/^[ \t]*(\w+)[ \t]*=[ \t]*(-?\d+)/gm)) {
    if (Object.hasOwn(DEFAULTS, name!)) settings[name as Setting] = Number(value);
  }
  return settings;
}
