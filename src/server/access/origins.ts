import { isIP } from "node:net";
import { hostname } from "node:os";
import { invalid, quote } from "../../model/error.ts";

/**
 * The origins of web pages that may connect. Browsers let any page connect to any address, and send the page's origin
 * with the request, so that the server can refuse the page.
 */
export class Origins {
  readonly #origins: ReadonlySet<string>;

  /**
   * @param origins the origins to admit besides those of loopback
   * @throws VirstreamError `invalid-argument`
   */
  constructor(origins: readonly string[] = []) {
    for (const origin of origins) {
      if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
      throw invalid(`an origin has a scheme, a host and no path, as https://dashboard.example, not ${quote(origin)}`);
    }
    this.#origins = new Set(origins);
  }

  admit(origin: string): boolean {
    return this.#origins.has(origin) || isLoopback(hostnameOf(origin) ?? "");
  }

  /**
   * True if the origin has the same host and port as the request, as it does for a page that this server itself serves.
   * Any host name is accepted: for a hostile page that makes its own name resolve to this machine, the result is also
   * true. So this check alone must not admit a page to a server without tokens.
   *
   * @param host the header `Host` of the request
   */
  static isSame(origin: string, host: string | undefined): boolean {
    return host !== undefined && URL.canParse(origin) && new URL(origin).host === hostOf(`http://${host}`);
  }

  /**
   * True if an honest page may call the server by this name. A hostile page can make its own name resolve to any
   * address (DNS rebinding). Its requests then have no header `Origin`, because they go to the page's own origin. So
   * only the header `Host` shows the hostile name.
   *
   * @param host the header `Host` of a request
   */
  admitHost(host: string | undefined): boolean {
    if (host === undefined) return true;
    const name = hostnameOf(`http://${host}`);
    if (name === undefined) return false;
    if (isLoopback(name) || isIP(name.replace(/^\[|\]$/g, "")) > 0 || name === hostname().toLowerCase()) return true;
    return [...this.#origins].some((origin) => hostnameOf(origin) === name);
  }
}

/** True for the host name and the addresses of loopback: `localhost`, `::1` and `127.x.x.x`. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

function hostnameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}
