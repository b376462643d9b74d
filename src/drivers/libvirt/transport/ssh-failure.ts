import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import { TROUBLE } from "./ssh-command.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * What the ssh program's end means. It says why in words on standard error, and in nothing else: its exit code is 255 for
 * every fault of its own, and the far command's otherwise. The words are OpenSSH's, in the language C.
 */

/** How the ssh program ended. */
export interface SshEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last it said on standard error, and whatever came before the daemon's first byte. */
  readonly words: string;
}

type Cure = readonly [pattern: RegExp, code: ErrorCode, what: (uri: LibvirtUri, words: string) => string];

const target = ({ user, host = "localhost", port }: LibvirtUri) =>
  `${port === undefined ? "" : `-p ${port} `}${user === undefined ? "" : `${user}@`}${host}`;

/** Of ssh itself, with exit code 255. */
const OWN: readonly Cure[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    "unauthenticated",
    (uri) =>
      "the host's key is another than the known one: someone may be in between. If you know why it changed, remove the old " +
      `one (ssh-keygen -R ${knownName(uri)}) and connect once by hand: ssh ${target(uri)}`,
  ],
  [
    /Host key verification failed/,
    "unauthenticated",
    (uri) =>
      `the host's key is not known: connect once by hand and look at it (ssh ${target(uri)}), or name the file that has it ` +
      "by known_hosts=PATH, or take new keys unseen by no_verify=1",
  ],
  [
    /Permission denied|Too many authentication failures|No more authentication methods/,
    "unauthenticated",
    (uri) =>
      `the host does not take this user's key: ssh-copy-id ${target(uri)}, or name the key by keyfile=PATH (without a ` +
      "passphrase, or in an agent; nobody is asked for a password), or another user by USER@",
  ],
  [
    /Connection refused/,
    "connection-refused",
    (uri) => `nobody listens there: is sshd running, and its port ${uri.port ?? "22"}?`,
  ],
  [
    /Could not resolve hostname|No route to host|Network is unreachable/,
    "connection-refused",
    () => "correct the host in the URI, or see to the network",
  ],
  [/timed out/, "connect-timeout", () => "it does not answer; a firewall may swallow what is sent there"],
  [
    /Bad configuration option|Bad owner or permissions|unknown option/,
    "invalid-uri",
    () => "correct ssh's configuration",
  ],
];

/** Of the far side's command. */
const FAR: readonly Cure[] = [
  [
    new RegExp(`${TROUBLE}no helper`),
    "unsupported",
    () =>
      "there is no virt-ssh-helper in the PATH there: apt-get install libvirt-daemon there; for a system's daemon, " +
      "proxy=netcat does without",
  ],
  [
    new RegExp(`${TROUBLE}no netcat`),
    "unsupported",
    ({ parameters }) =>
      `there is no virt-ssh-helper and no ${parameters.get("netcat") ?? "nc"} to use in the PATH there: apt-get install ` +
      "libvirt-daemon there, or netcat-openbsd, or name a netcat by netcat=PATH",
  ],
  [new RegExp(`${TROUBLE}closed`), "socket-denied", (uri) => deniedAdvice(uri)],
  [
    new RegExp(`${TROUBLE}no socket`),
    "socket-missing",
    (uri) =>
      uri.socket === undefined
        ? "there is no socket of a libvirt daemon there: install one (apt-get install libvirt-daemon-system) and start it " +
          "(systemctl start libvirtd.socket), or name its socket by socket=PATH"
        : `there is no socket ${uri.socket} there: correct socket=, or start the daemon that serves it`,
  ],
  [/unrecognized option|invalid option|usage:/i, "unsupported", () => "netcat= must be one that knows -U"],
  [/Permission denied/, "socket-denied", (uri) => deniedAdvice(uri)],
  [
    /No such file or directory/,
    "socket-missing",
    () => "no libvirt daemon runs there: systemctl start libvirtd.socket",
  ],
  [
    /Connection refused/,
    "connection-refused",
    () => "the socket is left over from a daemon that has ended: systemctl restart libvirtd.socket there",
  ],
];

function deniedAdvice({ user }: LibvirtUri): string {
  return `the user there may not use the daemon's socket: usermod -aG libvirt ${user ?? "USER"} there, or log in as one who may`;
}

function knownName({ host = "localhost", port }: LibvirtUri): string {
  return port === undefined || port === 22 ? host : `"[${host}]:${port}"`;
}

/**
 * The error for an ssh that ended.
 *
 * @param opened whether the daemon had answered by then: if so, it is `connection-lost` whatever the words
 */
export function sshFailure(uri: LibvirtUri, end: SshEnd, opened: boolean): VirstreamError {
  const { words } = end;
  const said = lastLines(words);
  const how = said || (end.signal === null ? `it ended with the code ${end.code}` : `it was ended by ${end.signal}`);
  if (opened) return new VirstreamError("connection-lost", `ssh ${target(uri)} ended: ${how}`);
  const cure = (end.code === 255 ? OWN : end.signal === null ? FAR : []).find(([pattern]) => pattern.test(words));
  if (cure !== undefined) {
    const [, code, what] = cure;
    const own = said.includes(TROUBLE) || said === "" ? "" : `${said}: `;
    return new VirstreamError(code, `ssh ${target(uri)}: ${own}${what(uri, words)}`);
  }
  return new VirstreamError(
    "connection-lost",
    `ssh ${target(uri)} ended before the daemon answered: ${how}: see whether it can run a command there: ssh ${target(uri)} true`,
  );
}

/** The end of what was said, on one line; not the banners of the host, nor ssh's notes of what it did. */
function lastLines(words: string): string {
  return words
    .split("\n")
    .map((line) => line.trim().replace(/\.$/, ""))
    .filter((line) => line !== "" && !/^(Warning: Permanently added|@+|\*\*)/.test(line))
    .slice(-3)
    .join("; ");
}
