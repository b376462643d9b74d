import { byKind, PLAIN_INPUTS, PLAIN_INPUTS_OVER_TLS, TLS_INPUTS } from "./inputs/all.ts";
import type { Input } from "./inputs/input.ts";

/** The table of docs/hostile.md. */

/** TLS's names of its alerts (RFC 8446, 6.2). */
const ALERTS: Readonly<Record<string, string>> = {
  10: "unexpected_message",
  20: "bad_record_mac",
  22: "record_overflow",
  40: "handshake_failure",
  47: "illegal_parameter",
  50: "decode_error",
  70: "protocol_version",
  80: "internal_error",
  86: "inappropriate_fallback",
  109: "missing_extension",
  112: "unrecognized_name",
  116: "certificate_required",
  120: "no_application_protocol",
};
const EXAMPLE_LENGTH = 60;

/** A reaction as people read it. */
function shown(reaction: string): string {
  const [, alert] = /^alert (\d+)$/.exec(reaction) ?? [];
  if (alert !== undefined) return `alert ${alert} \`${ALERTS[alert]}\``;
  const [, code] = /^end (.*)$/.exec(reaction) ?? [];
  if (code !== undefined) return `end \`${code}\``;
  const parts = reaction.split(", ");
  const isSame = parts.length > 2 && parts.every((part) => part === parts[0]);
  return isSame ? `${parts.length} × ${parts[0]}` : parts.join(", then ");
}

/** What is special about an input, in Markdown. */
function example({ kind, name }: Input): string {
  const title = kind.slice(kind.indexOf(": ") + 2);
  const text = name.replace(/^(HTTP|TLS|virstream\.v1(\.json)?): /, "").replace(`${title}: `, "");
  const printable = text.replace(/[^\x20-\x7e]/g, "?");
  const short = printable.length > EXAMPLE_LENGTH ? `${printable.slice(0, EXAMPLE_LENGTH)}…` : printable;
  return short.replace(/[\\`*_{}[\]<>|#]/g, "\\$&");
}

/** How many inputs of each kind get what, in Markdown. */
export function inputTable(): string {
  const count = (inputs: readonly Input[]): string => (inputs.length === 0 ? "" : inputs.length.toLocaleString("en"));
  const overTls = byKind(PLAIN_INPUTS_OVER_TLS);
  const rows = [...byKind([...PLAIN_INPUTS, ...TLS_INPUTS])].flatMap(([kind, inputs]) =>
    [...new Set(inputs.map(({ reaction }) => reaction))].map((reaction, i) => {
      const same = inputs.filter((input) => input.reaction === reaction);
      const tls = (overTls.get(kind) ?? []).filter((input) => input.reaction === reaction);
      return [i === 0 ? kind : "", shown(reaction), count(same), count(tls), example(same[0]!)];
    }),
  );
  const head = [
    ["what a client sends", "what it gets", "inputs", "over TLS, too", "one of them"],
    ["---", "---", "---:", "---:", "---"],
  ];
  const sum = ["**all**", "", ...[[...PLAIN_INPUTS, ...TLS_INPUTS], PLAIN_INPUTS_OVER_TLS].map(count), ""];
  return [...head, ...rows, sum].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}
