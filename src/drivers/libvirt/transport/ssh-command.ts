import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { VirstreamError } from "../../../model/error.ts";
import { choice, flag, invalidParameter, unsupported } from "./parameters.ts";
import { socketCandidates } from "./unix.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * The arguments of the ssh program, and the command that it runs on the remote host.
 *
 * Words of the URI pass through two parsers: the option parser of ssh, and the remote user's login shell, which may be
 * any shell. So each word is passed in a form that ssh and every shell read in the same way. A word without such a form
 * is refused.
 */

/** The remote command prints this text before it connects its output to the daemon. */
export const READY = "virstream: connected\n";
/** The remote command's error messages begin with this text. */
export const TROUBLE = "virstream: trouble: ";

/**
 * The remote command, run by `sh`: $1 is auto, native or netcat, $2 the URI for virt-ssh-helper, $3 the netcat program,
 * and the other arguments are the sockets to try. The script has no single quote, exclamation mark, backslash or
 * newline, so that any login shell can pass it to sh in single quotes. If netcat has the option `-q`, the script passes
 * `-q0`, so that netcat ends when its input ends.
 */
const REMOTE_SCRIPT = [
  `trouble() { echo "${TROUBLE}$*" >&2; exit 64; }`,
  "proxy=$1",
  "uri=$2",
  "nc=$3",
  "shift 3",
  "if test $proxy = auto || test $proxy = native; then " +
    "if command -v virt-ssh-helper >/dev/null 2>&1; then " +
    `echo "${READY.trim()}"; exec virt-ssh-helper -r "$uri"; fi; ` +
    "if test $proxy = native; then trouble no helper; fi; fi",
  `command -v "$nc" >/dev/null 2>&1 || trouble no netcat`,
  "closed=",
  'for socket do if test -S "$socket"; then if test -w "$socket"; then option=; ' +
    '"$nc" -q </dev/null 2>&1 | grep "requires an argument" >/dev/null && option=-q0; ' +
    `echo "${READY.trim()}"; exec "$nc" $option -U "$socket"; fi; closed=$socket; fi; done`,
  'if test -n "$closed"; then trouble closed "$closed"; fi',
  "trouble no socket",
].join("; ");

/**
 * The arguments of ssh for a URI. Throws `invalid-uri` for parameters that contradict each other or cannot be passed
 * safely, `unsupported` for a feature that only libvirt's own ssh libraries have, `unauthenticated` for an unreadable
 * key file.
 */
export function sshArguments(uri: LibvirtUri): string[] {
  const args: string[] = [];
  if (uri.port !== undefined) args.push("-p", String(uri.port));
  if (uri.user !== undefined) args.push("-l", checkUser(uri, uri.user));
  const keyfile = uri.parameters.get("keyfile");
  if (keyfile !== undefined) args.push("-i", checkKeyfile(uri, keyfile));
  // Never prompt. Never become a control master, which would outlive this process. Within 30 s, notice a dead
  // connection.
  const options = [
    "BatchMode=yes",
    "ControlMaster=no",
    "LogLevel=INFO",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    ...hostKeyOptions(uri),
    ...authenticationOptions(uri),
  ].flatMap((option) => ["-o", option]);
  return [...args, "-T", "-e", "none", ...options, "--", uri.host ?? "localhost", remoteCommand(uri)];
}

/** The command for the remote login shell. */
function remoteCommand(uri: LibvirtUri): string {
  const proxy = choice(uri, "proxy", ["auto", "netcat", "native"]);
  const netcat = uri.parameters.get("netcat");
  const session = uri.path === "/session";
  // virt-ssh-helper chooses its socket itself. Only netcat takes the path of a socket.
  const sent = ["socket", "netcat", "mode"].find(
    (name) => uri.parameters.has(name) && uri.parameters.get(name) !== "auto",
  );
  if (proxy === "native" && sent !== undefined) {
    throw invalidParameter(uri, `${sent}= is for netcat, and proxy=native is not: leave one of them out`);
  }
  const way = session && sent === undefined && proxy === "auto" ? "native" : sent === undefined ? proxy : "netcat";
  if (session && way === "netcat" && uri.socket === undefined) {
    throw invalidParameter(
      uri,
      "only virt-ssh-helper knows where a user's own socket is on the remote host, netcat does not: add socket=PATH",
    );
  }
  if (netcat?.startsWith("-")) throw invalidParameter(uri, "netcat= begins with a dash");
  const place = { uid: 0, systemFolders: ["/run/libvirt", "/var/run/libvirt"], userFolder: "", systemd: true };
  const words = [way, `${uri.driver}://${uri.path}`, netcat || "nc", ...socketCandidates(uri, place)];
  return ["sh", "-c", `'${REMOTE_SCRIPT}'`, "sh", ...words.map((word) => quote(uri, word))].join(" ");
}

/** Quotes a word for any login shell. Refuses characters that shells treat differently even in single quotes. */
function quote(uri: LibvirtUri, word: string): string {
  if (/[\p{Cc}\\!]/u.test(word)) {
    throw invalidParameter(
      uri,
      `${JSON.stringify(word)} cannot be passed through every shell: it has a backslash, an exclamation mark or a control character`,
    );
  }
  return `'${word.replaceAll("'", `'"'"'`)}'`;
}

function checkUser(uri: LibvirtUri, user: string): string {
  // ssh passes the user name to ProxyCommand and Match exec, and these run a shell.
  if (/^-|[\p{Cc}\s'"`$;&<>|(){}]|\\$/u.test(user)) {
    throw invalidParameter(uri, `${JSON.stringify(user)} cannot be passed to ssh as a user's name`);
  }
  return user;
}

function checkKeyfile(uri: LibvirtUri, path: string): string {
  checkPath(uri, "keyfile", path);
  try {
    accessSync(path.replace(/^~(?=\/)/, homedir()), constants.R_OK);
  } catch (cause) {
    // ssh itself would ignore a key file that it cannot read, and try its other keys.
    throw new VirstreamError(
      "unauthenticated",
      `${uri.uri}: the key file ${path} cannot be read by the user that virstream runs as: correct keyfile=, or the file's permissions`,
      { cause },
    );
  }
  return path;
}

/** ssh expands % and $ in paths, and splits unquoted paths at spaces. Refuses paths that ssh would read differently. */
function checkPath(uri: LibvirtUri, name: string, path: string): void {
  if (path === "" || /^-|[\p{Cc}"\\%$]/u.test(path)) {
    throw invalidParameter(uri, `${name}=${path}: ssh cannot be given this path; move the file to one without "\\%$`);
  }
}

function hostKeyOptions(uri: LibvirtUri): string[] {
  const options: string[] = [];
  const verify = choice(uri, "known_hosts_verify", ["normal", "auto", "ignore"]);
  if (verify === "ignore") return ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
  const knownHosts = uri.parameters.get("known_hosts");
  if (knownHosts !== undefined) {
    checkPath(uri, "known_hosts", knownHosts);
    options.push(`UserKnownHostsFile="${knownHosts}"`);
  }
  // As libvirt documents it, no_verify accepts new keys and still refuses changed keys.
  if (verify === "auto" || flag(uri, "no_verify")) options.push("StrictHostKeyChecking=accept-new");
  else if (uri.parameters.has("known_hosts_verify")) options.push("StrictHostKeyChecking=yes");
  return options;
}

const METHODS = ["agent", "privkey", "password", "keyboard-interactive"];

function authenticationOptions(uri: LibvirtUri): string[] {
  const given = uri.parameters.get("sshauth");
  if (given === undefined) return [];
  const methods = given.split(",").map((method) => method.trim());
  const strange = methods.find((method) => !METHODS.includes(method));
  if (strange !== undefined) throw invalidParameter(uri, `sshauth is a list of ${METHODS.join(", ")}, not ${strange}`);
  const [agent, privkey] = [methods.includes("agent"), methods.includes("privkey")];
  if (!agent && !privkey) {
    throw unsupported(uri, `sshauth=${given}: a service cannot type a password. Use a key: agent or privkey`);
  }
  return [
    "PreferredAuthentications=publickey",
    ...(agent ? [] : ["IdentityAgent=none"]),
    ...(privkey ? [] : ["IdentityFile=none"]),
  ];
}
