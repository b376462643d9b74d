import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { VirstreamError } from "../../../model/error.ts";

/** The settings in libvirt.conf, the configuration file of libvirt's clients, that virstream uses. */
export interface ClientConfiguration {
  /** `uri_aliases`: short names for URIs. */
  readonly aliases: ReadonlyMap<string, string>;
  /** `uri_default`: the URI when none is given. */
  readonly defaultUri: string | undefined;
}

/**
 * The client configuration file of this process's user. As in libvirt, root uses the system's file, and every other
 * user uses a file of their own.
 */
export function clientConfigurationFile(env: NodeJS.ProcessEnv, uid = process.getuid?.()): string {
  const folder = uid === 0 ? "/etc" : env["XDG_CONFIG_HOME"] || join(homedir(), ".config");
  return join(folder, "libvirt/libvirt.conf");
}

/** Reads libvirt.conf. A file that does not exist counts as empty. Throws if a file exists and cannot be read. */
export function readClientConfiguration(file: string): ClientConfiguration {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") {
      throw new VirstreamError("invalid-argument", `libvirt's ${file} cannot be read (${code})`, { cause });
    }
  }
  const uncommented = text.replace(/("[^"\n]*"|'[^'\n]*')|#.*/g, "$1");
  const list = /^[ \t]*uri_aliases\s*=\s*\[((?:[\s,]|"[^"\n]*"|'[^'\n]*')*)/m.exec(uncommented)?.[1] ?? "";
  const entries = strings(list).map((entry) => /^([\w-]+)=(.*)$/.exec(entry));
  return {
    // If a name has two entries, libvirt takes the first.
    aliases: new Map(entries.flatMap((entry) => (entry === null ? [] : [[entry[1]!, entry[2]!] as const])).reverse()),
    defaultUri: strings(/^[ \t]*uri_default\s*=(.*)/m.exec(uncommented)?.[1] ?? "")[0] || undefined,
  };
}

function strings(text: string): string[] {
  return [...text.matchAll(/"([^"\n]*)"|'([^'\n]*)'/g)].map(([, double, single]) => double ?? single!);
}
