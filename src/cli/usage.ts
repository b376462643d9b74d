import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../server/server.ts";

/** What was typed cannot be carried out as it stands; the message says why. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Why work was aborted: the user wants no more. */
export const INTERRUPTED = new Error("interrupted");

/** Exit codes of the command line. */
export const ExitCode = { ok: 0, failed: 1, usage: 2, incomplete: 3, interrupted: 130 } as const;

const URIS = `\
URI picks where the domains come from:
  qemu:///system             this machine's libvirt daemon (qemu:///session: your own)
  qemu:///system?socket=PATH a daemon by its socket
  qemu+ssh://USER@HOST/system another machine's, by ssh; by TLS and TCP, too: docs/libvirt.md
  ws://HOST:PORT             a virstream server
  test:///default            a simulated host in this process
Without one: $VIRSTREAM_URI, $LIBVIRT_DEFAULT_URI, a daemon on this machine, else the simulated host.
`;

const QUERY = `\
Groups (none given: all that the hypervisor supports):
  --state --cpu-total --balloon --vcpu --interface --block
  --perf --iothread --memory --dirtyrate --vm

Which domains (filters of one line add up, the lines narrow each other):
  --list-active --list-inactive
  --list-persistent --list-transient
  --list-running --list-paused --list-shutoff --list-other
  --domain NAME|UUID    only this domain; may be given several times
`;

const HOW = `\
  --deadline TIME       how long a domain may take: 500ms, 2s (default), 1m
  --enforce             fail when a group asked for is not supported
  --backing             count every image of a backing chain
  --nowait              do not wait for a domain that another job holds
  --raw                 as virsh has it; virsh's output is raw in any case
  --token-file FILE     the token of a virstream server ($VIRSTREAM_TOKEN otherwise)
`;

/** The help texts, by command; the empty command is the program. */
export const HELP = {
  "": `\
Usage: virstream COMMAND [URI] [OPTION]...

Statistics of virtual machines, one record per domain, each as soon as its hypervisor has it.

Commands:
  get     one record of every domain, printed as they arrive
  watch   the same again and again: a screen as top's, or lines
  serve   let others read the domains over WebSocket
  doctor  find what hinders virstream on a libvirt host, and show the commands that fix it

${URIS}
"virstream COMMAND --help" tells the options of a command, "virstream --version" the version.
`,
  get: `\
Usage: virstream get [URI] [OPTION]...

Prints one record of every domain, each as it arrives.

${QUERY}
How:
  --format FORMAT       table (default), virsh, ndjson or json
${HOW}  -h, --help

${URIS}
Exit code: 0 all well, 1 failed, 2 usage, 3 some domain failed, is partial, or is not there.
`,
  watch: `\
Usage: virstream watch [URI] [OPTION]...

Prints the records of every domain again and again, until it is interrupted. On a terminal the table is a screen as top's;
in a pipe or file each sweep ends with a comment, "# sweep 3: ...". Fails when URI cannot be reached at the start; what is
lost later is connected to by and by.

How often, and what:
  --interval TIME       from the beginning of a sweep to that of the next: 500ms, 1s (default), 5m; sweeps never overlap
  --count N             end after N sweeps of every host; waits for as long as no host can be reached
  --on-change           only records that changed, and each at least once per heartbeat
  --heartbeat TIME      with --on-change; default 30s
  --rates               what was used per second in the place of totals; on a screen the busiest first

${QUERY}
How:
  --format FORMAT       table (default), virsh (each sweep at its end) or ndjson
${HOW}  -h, --help

ndjson has a line per event. Records are as get prints them (with "rates", if wanted); all other lines have a member
"event", which is sync (the end of a sweep), gone, gap or status, and no "params":
  virstream watch --format ndjson | jq 'select(.params)'
The other formats tell what is no record in a line each on stderr. A reader that is too slow gets the newest state, and is
told how many sweeps it missed.

${URIS}
Exit code: 0 all well, or interrupted without --count; 1 failed, 2 usage, 3 in some host's last sweep some domain failed,
is partial, or is not there, or a host cannot be reached; 130 interrupted before --count was reached.
`,
  serve: `\
Usage: virstream serve [URI]... [OPTION]...

Lets others read the domains of URI over WebSocket, until it is interrupted; of several URIs together. Prints its URL.
Ends when no hypervisor is there at the start (start it after libvirtd); one that is lost later, or is not there yet
beside others, is connected to by and by.

  --listen HOST:PORT    where to listen; default ${DEFAULT_LISTEN_HOST}:${DEFAULT_PORT}, port 0 picks a free one
  --token-file FILE     what clients must show ($VIRSTREAM_TOKEN otherwise); needed beyond loopback
  --viewers FILE        who may see some domains only, and by which token: docs/serving.md
  --source-token-file FILE
                        what virstream servers (ws://) among the URIs want to be shown
  --allow-anyone        beyond loopback without a token: everybody may read
  --min-interval TIME   the shortest interval that watches may ask for; default 1s
  --origin ORIGIN       web pages that may connect, as https://HOST; may be given several times
  -h, --help

${URIS}`,
  doctor: `\
Usage: virstream doctor [URI] [OPTION]...

Finds what hinders virstream on a libvirt host, and shows the commands that fix it. It changes nothing, asks no guest's
QEMU, and ends within ten seconds. URI is qemu:///system, qemu+ssh://USER@HOST/system or any other libvirt URI. Without
a URI it examines the QEMU daemons of this machine: the system's and your own.

  --format FORMAT       text (default) or json
  --all                 name every guest, not only the first few
  -h, --help

Exit code: 0 nothing to fix, 1 something to fix, or failed, 2 usage.
`,
} as const;

/** A command that has a help text. */
export type Command = Exclude<keyof typeof HELP, "">;
