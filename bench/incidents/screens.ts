import { setTimeout as sleep } from "node:timers/promises";
import type { Browser } from "playwright-core";
import { PROGRAM, virstream } from "../../test/cli/run.ts";
import { startChromium } from "../../test/lab/chromium.ts";
import type { ServedProcess } from "../../test/lab/served-process.ts";
import { TmuxTerminal } from "../../test/lab/tmux-terminal.ts";

/** What a screen said. */
export interface Screen {
  readonly name: string;
  /** The part that is about the incident. */
  readonly text: string;
  /**
   * When it named the cause and what helps, in s since the first look at the screen; undefined: it did not name them.
   */
  readonly seconds: number | undefined;
}

/** How long a screen may take, in ms. */
const LIMIT_MS = 60_000;
const SIZE = { columns: 130, rows: 24 };

/** The four screens that people look at: `virstream top`, `get`, `why` and the live page. */
export class Screens implements AsyncDisposable {
  readonly #uris: readonly string[];
  readonly #served: ServedProcess;
  readonly #browser: Browser;

  private constructor(uris: readonly string[], served: ServedProcess, browser: Browser) {
    this.#uris = uris;
    this.#served = served;
    this.#browser = browser;
  }

  /**
   * @param uris of the hosts
   * @param served a server of the same hosts, with the page
   */
  static async open(uris: readonly string[], served: ServedProcess): Promise<Screens> {
    return new Screens(uris, served, await startChromium());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }

  /** Looks at a guest in trouble on every screen. */
  async lookAt(guest: string, cause: RegExp, remedy: RegExp): Promise<Screen[]> {
    // A narrow screen breaks its lines, so a line break counts as a space.
    const names = (text: string): boolean => [cause, remedy].every((each) => each.test(text.replaceAll(/\s+/g, " ")));
    const line = new RegExp(`^.*\\b${guest}\\b.*$`, "gm");
    const lines = (text: string): string => text.match(line)?.join("\n") ?? text;
    // A table has no room for the cause: it must have a word for the trouble, and the command that says more.
    const inWords = (text: string): boolean =>
      new RegExp(`^(STUCK|I/O.ERROR|CRASHED|SLOW.DISK|STEAL).* ${guest}\\b`, "m").test(text) &&
      text.includes(`virstream why ${guest}`);
    return [
      await this.#top(inWords, names, lines),
      ...(await this.#commands(guest, this.#uris[0]!, lines, inWords, names)),
      await this.#page(guest, names),
    ];
  }

  /** Looks for an absent host on every screen. */
  async lookForHost(host: string, guest: string): Promise<Screen[]> {
    const names = (text: string): boolean => /NO.HOST/.test(text) && text.includes("cannot be reached");
    const lines = (text: string): string =>
      text.match(new RegExp(`^.*(\\b${host}\\b|NO.HOST|cannot be reached).*$`, "gm"))?.join("\n") ?? text;
    const isAbsent = (text: string): boolean => /cannot be reached|nothing listens|connection-/.test(text);
    return [
      await this.#top(names, undefined, lines),
      ...(await this.#commands(guest, this.#uris[1]!, lines, isAbsent, isAbsent)),
      await this.#page(host, names),
    ];
  }

  /** The output of the commands that end by themselves: `get`, and `why` without and with a server. */
  async #commands(
    guest: string,
    uri: string,
    lines: (text: string) => string,
    listed: (text: string) => boolean,
    explained: (text: string) => boolean,
  ): Promise<Screen[]> {
    return [
      await timed("get", async () => lines(all(await virstream(["get", ...this.#uris]))), listed),
      await timed("why", async () => all(await virstream(["why", guest, uri])), explained),
      await timed("why, by a server", async () => all(await virstream(["why", guest, this.#served.url])), explained),
    ];
  }

  /** The list of `virstream top` and, if `opened` is given, the page of the guest that the list explains. */
  async #top(
    listed: (text: string) => boolean,
    opened: ((text: string) => boolean) | undefined,
    lines: (text: string) => string,
  ): Promise<Screen> {
    const uris = this.#uris.map((uri) => `'${uri}'`).join(" ");
    await using terminal = await TmuxTerminal.open(
      `${process.execPath} ${PROGRAM} top ${uris}`,
      SIZE.columns,
      SIZE.rows,
    );
    const list = await timed("top", async () => lines(await terminal.screen()), listed);
    if (opened === undefined || list.seconds === undefined) return list;
    const guest = /virstream why (\S+)/.exec(await terminal.screen())![1]!;
    await terminal.press("/", ...guest, "Enter", "Enter");
    const page = await timed("top", async () => topOf(await terminal.screen()), opened);
    const seconds = page.seconds === undefined ? undefined : list.seconds + page.seconds;
    return { name: "top", text: `${list.text}\n\n(Enter)\n${page.text}`, seconds };
  }

  async #page(name: string, names: (text: string) => boolean): Promise<Screen> {
    const page = await this.#browser.newPage();
    const began = performance.now();
    try {
      await page.goto(this.#served.url.replace(/^ws/, "http"));
      const problem = page.locator(".problems li").filter({ hasText: name }).first();
      await problem.waitFor({ timeout: LIMIT_MS });
      await problem.getByRole("button").click();
      return await timed(
        "page",
        async () => {
          const problems = (await problem.allInnerTexts()).join().replaceAll("\n", " ");
          const diagnosis = page.locator(".diagnosis");
          return (await diagnosis.isVisible())
            ? `${problems}\n\n${(await diagnosis.allInnerTexts()).join()}`
            : problems;
        },
        names,
        began,
      );
    } catch (error) {
      return { name: "page", text: String(error), seconds: undefined };
    } finally {
      await page.close();
    }
  }
}

/** Looks again and again until the text names the incident, or LIMIT_MS have passed. */
async function timed(
  name: string,
  look: () => Promise<string>,
  names: (text: string) => boolean,
  began: number = performance.now(),
): Promise<Screen> {
  for (;;) {
    const text = await look();
    const tookMs = performance.now() - began;
    if (names(text)) return { name, text, seconds: tookMs / 1_000 };
    if (tookMs > LIMIT_MS) return { name, text, seconds: undefined };
    await sleep(200);
  }
}

/** The lines of the page of a guest that say what is wrong. */
function topOf(screen: string): string {
  const [, ...lines] = screen.split("\n");
  const end = lines.findIndex((line) => /^(CPU |PARAMETER)/.test(line));
  return lines.slice(0, end < 0 ? 8 : end).join("\n");
}

function all({ stdout, stderr }: { stdout: string; stderr: string }): string {
  return `${stdout}${stderr}`;
}
