import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import { TROUBLE } from "./ssh-command.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * Explains why the ssh program has ended. Its exit code shows only whether ssh itself has failed (255), or the remote
 * command (any other code). The text on standard error shows why. The patterns for ssh are texts of OpenSSH in the
 * locale C.
 */

/** How the ssh program ended. */
export interface SshEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of its standard error, and the output that came before the daemon's first byte. */
  readonly words: string;
}

type KnownFailure = readonly [pattern: RegExp, code: ErrorCode, what: (uri: LibvirtUri) => string];

/** The arguments of an ssh command that name the host of a URI, for messages. */
export function sshTarget({ user, host = "localhost", port }: LibvirtUri): string {
  return `${port === undefined ? "" : `-p ${port} `}${user === undefined ? "" : `${user}@`}${host}`;
}

/** Failures of ssh itself, with exit code 255. */
const SSH_FAILURES: readonly KnownFailure[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    "unauthenticated",
    (uri) =>
      "the host's key has changed: someone may intercept the connection. If you know why it changed, remove the old " +
      `key (ssh-keygen -R ${knownName(uri)}) and connect once by hand: ssh ${sshTarget(uri)}`,
  ],
  [
    /Host key verification failed/,
    "unauthenticated",
    (uri) =>
      `the host's key is not known: connect once by hand and check it (ssh ${sshTarget(uri)}), or name the file that has it ` +
      "by known_hosts=PATH, or accept new keys unchecked by no_verify=1",
  ],
  [
    /Permission denied|Too many authentication failures|No more authentication methods/,
    "unauthenticated",
    (uri) =>
      `the host does not accept this user's key: ssh-copy-id ${sshTarget(uri)}, or name the key by keyfile=PATH (without a ` +
      "passphrase, or in an agent; passwords are never asked for), or another user by USER@",
  ],
  [
    /Connection refused/,
    "connection-refused",
    (uri) => `no process listens there: is sshd running, and its port ${uri.port ?? "22"}?`,
  ],
  [
    /Could not resolve hostname|No route to host|Network is unreachable/,
    "connection-refused",
    () => "correct the host in the URI, or check the network",
  ],
  [/timed out/, "connect-timeout", () => "it does not answer; a firewall may drop the packets"],
  [
    /Bad configuration option|Bad owner or permissions|unknown option/,
    "invalid-uri",
    () => "correct ssh's configuration",
  ],
];

/** Failures of the remote command. */
const REMOTE_FAILURES: readonly KnownFailure[] = [
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
  [new RegExp(`${TROUBLE}closed`), "socket-denied", deniedAdvice],
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
  [/Permission denied/, "socket-denied", deniedAdvice],
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
  return `the user there may not use the daemon's socket: usermod -aG libvirt ${user ?? "USER"} there, or log in as another user`;
}

function knownName({ host = "localhost", port }: LibvirtUri): string {
  return port === undefined || port === 22 ? host : `"[${host}]:${port}"`;
}

/**
 * The error for the end of ssh.
 *
 * @param opened true if the daemon had already answered; the error is then `connection-lost`, whatever the text says
 */
export function sshFailure(uri: LibvirtUri, end: SshEnd, opened: boolean): VirstreamError {
  const { words } = end;
  const said = lastLines(words);
  const how = said || (end.signal === null ? `it ended with the code ${end.code}` : `it was ended by ${end.signal}`);
  if (opened) return new VirstreamError("connection-lost", `ssh ${sshTarget(uri)} ended: ${how}`);
  const failures = end.code === 255 ? SSH_FAILURES : end.signal === null ? REMOTE_FAILURES : [];
  const known = failures.find(([pattern]) => pattern.test(words));
  if (known !== undefined) {
    const [, code, what] = known;
    const own = said.includes(TROUBLE) || said === "" ? "" : `${said}: `;
    return new VirstreamError(code, `ssh ${sshTarget(uri)}: ${own}${what(uri)}`);
  }
  return new VirstreamError(
    "connection-lost",
    `ssh ${sshTarget(uri)} ended before the daemon answered: ${how}: check that it can run a command there: ssh ${sshTarget(uri)} true`,
  );
}

/** The last three lines of the text, joined to one line, without the host's banners and ssh's notes. */
function lastLines(words: string): string {
  return words
    .split("\n")
    .map((line) => line.trim().replace(/\.$/, ""))
    .filter((line) => line !== "" && !/^(Warning: Permanently added|@+|\*\*)/.test(line))
    .slice(-3)
    .join("; ");
}
