import { invalid, quote } from "../../model/error.ts";

/** The default prefix of all subjects, which is also the name of the bucket. */
export const DEFAULT_PREFIX = "virstream";

/** A prefix is one token of a subject and the name of a bucket, so it has neither dots nor wildcards. */
const PREFIX = /^[A-Za-z0-9_-]{1,64}$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws VirstreamError `invalid-argument` */
export function checkPrefix(prefix: string): string {
  if (PREFIX.test(prefix)) return prefix;
  throw invalid(`the prefix of the subjects has letters, digits, - and _, at most 64 of them: not ${quote(prefix)}`);
}

/**
 * The name of a host as one token of a subject: letters, digits, - and _ as they are, all other bytes of its UTF-8 as
 * =XX. For example, `hv1.example.com` is `hv1=2Eexample=2Ecom`. Different names have different tokens.
 */
export function tokenOf(host: string): string {
  let token = "";
  for (const byte of encoder.encode(host)) {
    const character = String.fromCharCode(byte);
    token += /[A-Za-z0-9_-]/.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return token === "" ? "=" : token;
}

/** The name of the host that a token stands for; undefined: no host has this token. */
export function hostOf(token: string): string | undefined {
  if (token === "=") return "";
  if (!/^(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+$/.test(token)) return undefined;
  const bytes = token.replaceAll(/=(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  try {
    const host = decoder.decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
    return tokenOf(host) === token ? host : undefined;
  } catch {
    return undefined;
  }
}

/** The subjects of a fleet, and the names of its stream and its bucket. All contain the fleet's prefix. */
export class Subjects {
  readonly prefix: string;

  /** @throws VirstreamError `invalid-argument` */
  constructor(prefix: string) {
    this.prefix = checkPrefix(prefix);
  }

  /** The subject of a host's ticks. */
  tick(token: string): string {
    return `${this.prefix}.tick.${token}`;
  }

  /** The name of the stream that retains the ticks of all hosts. */
  get stream(): string {
    return this.prefix;
  }

  /** The name of the bucket with the newest state of each host. */
  get bucket(): string {
    return this.prefix;
  }

  /** The stream in which NATS keeps the bucket. */
  get bucketStream(): string {
    return `KV_${this.prefix}`;
  }

  /** The subject of one chunk of a host's newest state in the bucket. */
  state(token: string, chunk: number | "*"): string {
    return `$KV.${this.prefix}.${token}.${chunk}`;
  }

  /**
   * The host that a subject names. The subject is that of a tick, or that of a chunk of a state. Undefined: it names no
   * valid host.
   */
  hostOf(subject: string): string | undefined {
    const tokens = subject.split(".");
    // PREFIX.tick.HOST, or $KV.PREFIX.HOST.CHUNK
    return tokens[2] === undefined ? undefined : hostOf(tokens[2]);
  }
}
