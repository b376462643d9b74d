import { VirstreamError } from "../../../model/error.ts";
import { type LibvirtUri, PARAMETERS } from "./uri.ts";

/**
 * The URI parameters that libvirt's client consumes. virstream honours each parameter, or refuses the URI with an error
 * that names the parameter: a parameter that is silently ignored may have been a security setting.
 */

/**
 * A URI often comes from a configuration or a request. It may name a host, but it must not name a program to run on
 * this machine.
 */
const ANY_PROGRAM = "runs any program that the URI names, which a service should not";

/** The parameters that libvirt honours and virstream does not, with what to do instead. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  [
    "command",
    `command= ${ANY_PROGRAM}. Leave it out: the program ssh is run, as PATH finds it. What it should do otherwise, say ` +
      "in ~/.ssh/config",
  ],
  [
    "tls_priority",
    "tls_priority= is in GnuTLS's syntax, which is not supported: leave it out; TLS 1.2 and 1.3 are used",
  ],
]);

/**
 * Throws for parameters that the URI's transport cannot honour: `unsupported` if libvirt could honour the parameter,
 * `invalid-uri` if the parameter has no meaning for this transport, or its value is wrong.
 */
export function checkParameters(uri: LibvirtUri): void {
  if (uri.transport === "ext") {
    const instead = "start the program beside a socket (socat UNIX-LISTEN:PATH,fork EXEC:PROGRAM), and use";
    const why = `the transport ext ${ANY_PROGRAM}. Use +ssh; or ${instead} ${uri.driver}:///system?socket=PATH`;
    throw unsupported(uri, why);
  }
  if (uri.path === "/embed" && !uri.parameters.has("name")) {
    const why = "runs libvirt's driver inside the program that opens it, and virstream has none: it asks a daemon";
    throw unsupported(uri, `the path /embed ${why}. Use ${uri.driver}:///system`);
  }
  for (const [name, value] of uri.parameters) {
    const refusal = REFUSED.get(name);
    if (refusal !== undefined) throw unsupported(uri, refusal);
    if (name === "auth") checkAuth(uri, value);
    if (name.startsWith("no_")) flag(uri, name);
    const transports = PARAMETERS.get(name)!;
    if (transports.includes(uri.transport)) continue;
    const whose = transports.length > 0 ? ` (it is for ${transports.join(", ")})` : "";
    throw invalidParameter(uri, `the transport ${uri.transport} has no use for ${name}=${whose}: leave it out`);
  }
}

function checkAuth(uri: LibvirtUri, value: string): void {
  if (value === "polkit" || value === "none") return;
  if (value === "sasl" || value.startsWith("sasl.")) {
    throw unsupported(uri, `auth=${value}: SASL is not supported. Use +ssh, or certificates with +tls`);
  }
  throw invalidParameter(uri, `auth is sasl, sasl.MECHANISM or polkit, not ${JSON.stringify(value)}`);
}

/** True if a numeric parameter is given and not zero. */
export function flag(uri: LibvirtUri, name: string): boolean {
  const value = uri.parameters.get(name);
  if (value === undefined) return false;
  if (!/^-?\d+$/.test(value)) throw invalidParameter(uri, `${name} is a number, 0 or 1`);
  return Number(value) !== 0;
}

/** Returns the value of a parameter that must be one of a few words; the first word is the default. */
export function choice<Word extends string>(uri: LibvirtUri, name: string, words: readonly [Word, ...Word[]]): Word {
  const value = uri.parameters.get(name) ?? words[0];
  if (words.includes(value as Word)) return value as Word;
  throw invalidParameter(uri, `${name} is one of ${words.join(", ")}`);
}

/** The error for a URI whose parameters are wrong. */
export function invalidParameter(uri: LibvirtUri, why: string): VirstreamError {
  return new VirstreamError("invalid-uri", `${uri.uri}: ${why}`);
}

/** The error for a URI that asks for something that libvirt supports and virstream does not. */
export function unsupported(uri: LibvirtUri, why: string): VirstreamError {
  return new VirstreamError("unsupported", `${uri.uri}: ${why}`);
}
