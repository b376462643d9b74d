import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../server/listening/address.ts";

/** The command line is wrong; the message says why. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The reason of the abort signal after SIGINT or SIGTERM. */
export const INTERRUPTED = new Error("interrupted");

/** Exit codes of the command line. */
export const ExitCode = { ok: 0, failed: 1, usage: 2, incomplete: 3, interrupted: 130 } as const;

const URIS = `\
URI picks where the domains come from:
  qemu:///system             this machine's libvirt daemon (qemu:///session: your own)
  qemu:///system?socket=PATH a daemon by its socket
  qemu+ssh://USER@HOST/system another machine's, by ssh; TLS and TCP: docs/libvirt.md
  ws://HOST:PORT             a virstream server; at a socket file: ws+unix:///PATH
  nats://HOST:PORT           all hosts that publish to a NATS server: docs/fleet.md
  test:///default            a simulated host in this process
  file:///PATH?speed=10      a recording; also with from= and to=: docs/recordings.md
Or an alias: uri_aliases in libvirt.conf, as for virsh. Also -c URI or --connect URI, as for virsh.
Without a URI: $VIRSTREAM_URI, $LIBVIRT_DEFAULT_URI, uri_default in libvirt.conf, or this machine's daemon.
`;

const QUERY = `\
Groups (none given: all that the hypervisor supports; for a table, those of its columns):
  --state --cpu-total --balloon --vcpu --interface --block
  --perf --iothread --memory --dirtyrate --vm

Which domains (one filter of each line given must apply):
  --list-active --list-inactive
  --list-persistent --list-transient
  --list-running --list-paused --list-shutoff --list-other
  --domain ID|UUID|NAME only this domain; can be given several times
  --name PATTERN        only domains with such names, as "web-*" or "db-[0-9]"; can be given several times
  --host PATTERN        only domains of hosts with such names; can be given several times
`;

const HOW = `\
  --deadline TIME       how long to wait for a domain: 500ms, 2s (default), 1m30s; a bare number is seconds
  --enforce             fail when a group asked for is not supported
  --backing             count every image of a backing chain
  --nowait              do not wait for a domain that is busy with another job
  --token-file FILE     the token for a virstream server; default $VIRSTREAM_TOKEN
  --ca FILE             the certificates of the authorities to trust for wss://, in PEM; default those of Node
`;

const RAW = `\
  --raw                 what was counted as libvirt counts it: ns, KiB, bytes; not with --rates
`;

/** The help texts by command; the empty name has the help of the program itself. */
export const HELP = {
  "": `\
Usage: virstream COMMAND [URI] [OPTION]...

Statistics of virtual machines: one record per domain, each as soon as its hypervisor has it.

Commands:
  get         print a table of all guests, or one record of every domain
  top         a live table of the guests on the whole terminal, trouble first
  watch       print every record of every sweep, for programs; on a terminal, the same as top
  serve       serve the domains to others over WebSocket
  why         say what is wrong with one guest, with the evidence and the command that helps
  check       judge the guests as a plugin of Nagios or Icinga does
  record      record what watch would show into a file, to look at it again
  info        say what a recording has
  token       make, list and revoke the tokens of a server's clients
  doctor      find problems of a libvirt host, and show the commands that fix them
  completion  print a script that completes commands and options in bash, zsh or fish

${URIS}
"virstream COMMAND --help" or "virstream help COMMAND" lists the options of a command, "virstream --version" or -V prints
the version.
`,
  get: `\
Usage: virstream get [URI]... [OPTION]...

Prints a table of all guests of one host or many: the worst on top, and per second what happens between two sweeps. The
formats for programs have one record of every domain, each as it arrives.

Table:
  --no-rates            sweep once, and show what was counted since the guests started
  --over TIME           the time between the two sweeps, 250ms or more; default 1s
  --at TIME             of a recording: as it was then, e.g. --at 2026-01-31T14:05:00, --at +10m after the beginning, or
                        --at=-30s before the end
  --sort COLUMN         numbers from the highest, texts from A to Z; trouble stays on top; default guest
  -r, --reverse         the other way round
  --columns LIST        only these columns, as guest,cpu,lat
  --per DEVICE          a line for each disk, nic or vcpu

Columns of rates: status guest host vcpu cpu steal mem read write lat rx tx why, and by name age read-ops write-ops state
reason id uuid. With --no-rates cpu-time and rss in place of cpu, steal, lat and age. docs/command-line.md explains them, and
those of --per.

${QUERY}
How:
  --format FORMAT       table (default) or csv; for programs ndjson, json, virsh (the bytes of virsh domstats), or
                        prometheus: a page for node_exporter's textfile collector
  --rates               with ndjson and json: sweep twice, and add "rates" to each record
  --dialect NAME        with --format prometheus: tinkoff (default), inovex or both: docs/prometheus.md
  --metrics-metadata NAME=PATH
                        with --format prometheus: labels, as those of virstream serve
  --metrics-extra LIST  with --format prometheus: metrics, as those of virstream serve except pools
  --hosts FILE          a file with a URI on each line
${RAW}${HOW}  -h, --help

  virstream get --sort cpu
  virstream get qemu+ssh://root@hv{01..50}/system --name "db-*"
  virstream get --per disk --columns guest,disk,read-lat,write-lat --sort write-lat
  virstream get --format ndjson | jq .domain.name

${URIS}
Exit code: 0 success, 1 failure, 2 usage, 3 some domain failed, is partial or does not exist, a filter leaves
out a named domain, or a host is absent.
`,
  watch: `\
Usage: virstream watch [URI] [OPTION]...

Prints the records of every domain repeatedly, until it is interrupted. On a terminal the table is a screen like top's;
in a pipe or file each sweep ends with a comment, "# sweep 3: ...". Fails when URI cannot be reached at the start.
A connection that is lost later is retried.

How often, and what:
  --interval TIME       between the starts of two sweeps: 250ms or more, 1s (default), 1m30s; sweeps never overlap;
                        a bare number is seconds, as in watch -n. A server's shortest interval may be longer than the
                        default, and is then the default
  -n, --count N         end after N sweeps of every host; waits while no host can be reached
  --on-change           print only records that changed, and each record at least once per heartbeat
  --heartbeat TIME      with --on-change; default 30s
  --rates               with ndjson: add "rates" to each record
  --no-rates            with the table in a pipe: what was counted since the guests started

${QUERY}
How:
  --format FORMAT       table (default), virsh (printed at the end of each sweep) or ndjson
${RAW}${HOW}  -h, --help

ndjson has a line per event. Records are as get prints them, with "rates" if --rates is given. All other lines have no
"params" but a member "event": sync (the end of a sweep), gone, gap or status:
  virstream watch --format ndjson | jq 'select(.params)'
The other formats report such events on stderr, one per line. A reader that is too slow gets the newest state, and
a line with the number of sweeps that it missed.

  virstream watch --name "db-*" --interval 5s --count 12
  virstream watch ws://hv1:16580 --on-change --heartbeat 1m --format ndjson

${URIS}
Exit code: 0 success, or interrupted without --count; 1 failure; 2 usage; 3 in some host's last sweep some domain
failed, is partial, or does not exist, or a host cannot be reached; 130 interrupted before --count was reached.
`,
  serve: `\
Usage: virstream serve [URI]... [OPTION]...

Serves the domains of URI, or of several URIs together, over WebSocket until it is interrupted. Prints its URL. Clients and
Prometheus read them; see --metrics.
Hosts that cannot be reached, at the start or later, are tried again; /readyz has the status 503 until there is one.

  --config FILE         a file in TOML with these options, sources and limits: docs/operating.md
  --print-config        print the configuration, with every limit, and end
  --check               check the configuration and the files that it names, and end
  --listen HOST:PORT    where to listen; default ${DEFAULT_LISTEN_HOST}:${DEFAULT_PORT}, port 0 picks a free one; or unix:PATH, a
                        socket file, which needs no token and no TLS
  --socket-mode MODE    the permissions of socket files; default 0600; 0660 is for a group, too
  --socket-group GROUP  the group of socket files
  --ui                  also a live page of the guests for browsers, at the same address: docs/page.md
  --metrics [HOST:]PORT a page for Prometheus, at /metrics; by habit port 9177; on loopback unless HOST is given. Without
                        --listen there is nothing else. It keeps a watch of all domains: docs/prometheus.md
  --metrics-interval TIME
                        the time between two sweeps of that watch; default 5s
  --metrics-metadata NAME=PATH
                        a text of the domains' definitions as a label, as team={urn:example:billing}account/team; can be
                        given several times: docs/prometheus.md
  --metrics-name PATTERN
                        only the domains with such names, as web-*; can be given several times
  --metrics-groups LIST only these groups: state,cpu-total,balloon,vcpu,interface,block or some of them
  --metrics-extra LIST  metrics that cost more calls: blkiotune (I/O limits), vcpu-cpu (CPUs), pools (storage), with
                        commas between them
  --dialect NAME        whose names the page has: tinkoff (default), inovex or both
  --token-file FILE     the token that clients must send; default $VIRSTREAM_TOKEN; required beyond loopback
  --tokens FILE         tokens that "virstream token" made, each with what it may read; SIGHUP reads it again
  --source-token-file FILE
                        the token for virstream servers (ws://) among the URIs
  --ca FILE             the certificates of the authorities to trust for wss:// URIs, in PEM; default those of Node
  --tls-cert FILE       serve at wss: and https: with this certificate; required beyond loopback. SIGHUP reads it and the
                        key again: docs/serving.md
  --tls-key FILE        the key of that certificate
  --tls-client-ca FILE  refuse clients without a certificate of these authorities
  --require-source      fail when no host can be reached at the start
  --allow-plain         listen beyond loopback without TLS, behind a proxy that has it: tokens can be read on the way
  --allow-anyone        listen beyond loopback without a token: everybody may read
  --min-interval TIME   the shortest interval that watches may ask for; default 1s
  --origin ORIGIN       web pages that may connect, as https://HOST; can be given several times
  --trusted-proxy CIDR  a proxy whose X-Forwarded-For names the client, for the limits per address: a network, as
                        10.0.0.0/8, an address, or unix for a socket file; can be given several times
  --log-level LEVEL     trace, debug, info, warn, error or silent; default $VIRSTREAM_LOG_LEVEL, else info
  --log-format FORMAT   text or json; default $VIRSTREAM_LOG_FORMAT, else text on a terminal and in the journal of
                        systemd, and JSON elsewhere: docs/operating.md
  --otlp URL            also push to an OpenTelemetry collector, as http://HOST:4318: docs/otlp.md;
                        env takes the URL of $OTEL_EXPORTER_OTLP_ENDPOINT
  --otlp-interval TIME  the time between two pushes: 1s or more; default 10s
  --otlp-headers-file FILE
                        headers for the collector, one per line, as Authorization: Bearer TOKEN
  --nats URL            publish to NATS, as nats://HOST:4222: docs/fleet.md. Prints what readers connect to. Without
                        --listen there is nothing else
  --nats-creds FILE     a file of NATS credentials
  --nats-prefix NAME    what the subjects begin with, and the name of the bucket; default virstream
  --nats-interval TIME  the time between two sweeps, each of which is published; default 10s
  --nats-replicas N     on how many servers of a cluster NATS keeps what it stores: 1 (default), 3 or 5
  --nats-max-age TIME   how long a host that publishes nothing stays in the bucket; default for ever
  --nats-retain TIME    retain every tick for so long, as 1h; default not at all
  -h, --help

  virstream serve qemu:///system --metrics 9177
  virstream serve wss://hv1:16580 wss://hv2:16580 --listen 0.0.0.0:16580 --token-file token --tls-cert cert.pem --tls-key key.pem
  virstream serve --nats nats://broker:4222

${URIS}
Exit code: 0 interrupted, 1 failure, 2 usage.
`,
  top: `\
Usage: virstream top [URI]... [OPTION]...

A live table of the guests of one host or many, on the whole terminal: trouble first, in red, then the busiest. The line
above the keys says what is wrong with the selected guest, and the command that helps. Press ? for all keys.

  --interval TIME       between two sweeps: 250ms or more, 1s (default); a bare number is seconds
  --hosts FILE          a file with a URI on each line
  --domain ID|UUID|NAME only this domain; can be given several times
  --name PATTERN        only domains with such names, as "web-*"; can be given several times
  --host PATTERN        only domains of hosts with such names; can be given several times
  --deadline TIME       how long to wait for a domain; default 2s
  -b, --batch           print the table again and again, for scripts and pipes
  -n, --count N         with -b: end after N tables; the first has no rates yet
  --token-file FILE     the token for virstream servers; default $VIRSTREAM_TOKEN
  --ca FILE             the certificates of the authorities to trust for wss://, in PEM; default those of Node
  -h, --help

  virstream top qemu+ssh://root@hv{01..50}/system
  virstream top -b -n 2 --name "db-*"

${URIS}
Exit code: 0 the user left; with -b 3 if some guest is in trouble or a host absent; 1 failure; 2 usage.
`,
  why: `\
Usage: virstream why GUEST [URI] [OPTION]...

Says what is wrong with one guest, the evidence for it, and the command that helps. It watches the guest for a second,
and on a libvirt host looks at the state of its monitor, its QEMU process, its job and its failed disks. GUEST is a name,
a uuid or the id of a running guest. Behind another virstream it has the guest's records only.

  --format FORMAT       text (default) or json
  --token-file FILE     the token for a virstream server; default $VIRSTREAM_TOKEN
  --ca FILE             the certificates of the authorities to trust for wss://, in PEM; default those of Node
  -h, --help

  virstream why db-prod-01 qemu+ssh://root@hv3/system

${URIS}
Exit code: 0 the guest was found, 1 failure, 2 usage, 3 there is no such guest, or a host that may have it is away.
`,
  check: `\
Usage: virstream check [URI]... [OPTION]...

A plugin for Nagios, Icinga and their relatives: takes two samples, and prints one line with performance data. CRITICAL are
guests that are stuck (failed, partial or quarantined records), stopped by an I/O error, crashed, or do not exist, and hosts
that cannot be reached. Rates have thresholds:

  --stuck               seconds without a whole record, as far as the two samples say; default -c 0
  --cpu                 use of a guest's vCPUs, in %
  --steal               time in which a vCPU waited for a processor, in %, of the worst vCPU
  --latency             mean time of a read, write or flush, in ms, of the worst disk
  --memory              memory used, in %, of guests that report it
  -w, --warning RANGE   warn when the metric before it is outside of RANGE: 90, 10:, 10:20, @10:20 (inside)
  -c, --critical RANGE  the same for CRITICAL; without a metric before it, about --stuck

  virstream check qemu:///system --cpu -w 80 -c 95 --latency -w 50 -c 200

  --domain ID|UUID|NAME only this guest; can be given several times
  --name PATTERN        only guests with such names, as "web-*"; can be given several times
  --host PATTERN        only guests of hosts with such names; can be given several times
  --over TIME           the time between the two samples, 250ms or more; default 1s
  --deadline TIME       how long to wait for a guest in each sample; default 2s
  -t, --timeout TIME    the most time for all of it, default 10s; then UNKNOWN
  --token-file FILE     the token for a virstream server; default $VIRSTREAM_TOKEN
  --ca FILE             the certificates of the authorities to trust for wss://, in PEM; default those of Node
  -h, --help

${URIS}
Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (wrong usage, no permission, --timeout). docs/check.md has the set-up.
`,
  record: `\
Usage: virstream record [URI]... FILE [OPTION]...

Records the sweeps of the domains of URI, or of several URIs together, into FILE until it is interrupted: what changed,
and from time to time every record. An existing recording is continued. Look at it again with any command, such as
  virstream watch "file:///PATH/FILE?speed=10&from=-10m"
Outages are recorded as such. When the program is killed, or the disk is full, what was written before can be read.

  --interval TIME       between the starts of two sweeps: 250ms or more, 1s (default), 1m30s
  --on-change           record only records that changed, and each record at least once per heartbeat
  --heartbeat TIME      with --on-change; default 30s
  --rotate-size SIZE    go on in a new file when FILE has this size: 500K, 256M, 4G
  --rotate-age TIME     go on in a new file when FILE is this old: 1h, 24h
  --keep N              keep the newest N rotated files, FILE.000001 and so on; default all

${QUERY}
How:
${HOW}  -h, --help

  virstream record qemu:///system /var/lib/virstream/hv1.rec --rotate-age 24h --keep 7

${URIS}
Exit code: 0 interrupted, 1 failure, 2 usage.
`,
  info: `\
Usage: virstream info FILE [OPTION]...

Reads a recording, with its rotated files, and says what it has: its time, hosts and domains, records and their size,
gaps, and damage.

  --format FORMAT       text (default) or json
  -h, --help

  virstream info /var/lib/virstream/hv1.rec

Exit code: 0 success, 1 FILE cannot be read or is no recording, 2 usage, 3 the recording is damaged.
`,
  token: `\
Usage: virstream token create NAME --tokens FILE [OPTION]...
       virstream token list --tokens FILE
       virstream token revoke NAME --tokens FILE

The tokens of "virstream serve --tokens FILE", each with a name and what it may read. The file has only their hashes: create
prints the new token once. A running server reads the file again at kill -HUP, and disconnects clients whose token is revoked.

  --tokens FILE         the file; default $VIRSTREAM_TOKENS. create makes it if there is none
  --role ROLE           stats (default): statistics over WebSocket; metrics: the page for Prometheus; admin: everything
  --domain UUID|NAME    only this domain; can be given several times
  --name PATTERN        only domains with such names, as "web-*"; can be given several times
  --groups LIST         only these groups of statistics, with commas between them
  --expires TIME        how long it is valid, as 90d; default for ever
  -h, --help

  virstream token create dashboard --tokens /etc/virstream/tokens.json --name "web-*" --expires 90d

Exit code: 0 success, 1 failure, 2 usage.
`,
  doctor: `\
Usage: virstream doctor [URI] [OPTION]...

Finds problems that keep virstream from reading a libvirt host well, and shows the commands that fix them. It changes
nothing, asks no guest's QEMU anything, and ends within ten seconds. URI is qemu:///system, qemu+ssh://USER@HOST/system
or any other libvirt URI. Without a URI it examines the QEMU daemons of this machine, the system's and your own, and not
$VIRSTREAM_URI: that may name another host or a server, and most of what it examines is on the machine itself.

  --format FORMAT       text (default) or json
  --all                 name every affected guest, not only the first few
  -h, --help

  virstream doctor qemu+ssh://root@hv3/system

Exit code: 0 nothing to fix, 1 something to fix, or failure, 2 usage.
`,
  completion: `\
Usage: virstream completion SHELL

Prints a script that completes commands, options and their values in SHELL: bash, zsh or fish.

  -h, --help

  virstream completion bash > /etc/bash_completion.d/virstream
  virstream completion zsh > "\${fpath[1]}/_virstream"
  virstream completion fish > ~/.config/fish/completions/virstream.fish

Exit code: 0 success, 1 failure, 2 usage.
`,
} as const;

/** The name of a subcommand. */
export type Command = Exclude<keyof typeof HELP, "">;
