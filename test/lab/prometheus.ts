import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./port.ts";
import { findProgram } from "./requirement.ts";

/** One sample of an answer. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A private Prometheus that scrapes one page every second. It ends with this process. */
export class Prometheus implements AsyncDisposable {
  readonly #folder: string;
  readonly #port: number;
  readonly #child: ChildProcess;

  private constructor(folder: string, port: number, child: ChildProcess) {
    this.#folder = folder;
    this.#port = port;
    this.#child = child;
  }

  /** @param rules a file of alert rules */
  static async start(page: URL, token: string, rules: string): Promise<Prometheus> {
    const folder = await mkdtemp(join(tmpdir(), "virstream-prometheus-"));
    const port = await freePort();
    const job = {
      job_name: "libvirt",
      authorization: { credentials: token },
      static_configs: [{ targets: [page.host] }],
    };
    const every = { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" };
    await writeFile(
      join(folder, "prometheus.yml"),
      JSON.stringify({ global: every, rule_files: [rules], scrape_configs: [job] }),
    );
    const options = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    const command = [
      "--pdeathsig",
      "KILL",
      findProgram("prometheus")!,
      ...options,
      `--web.listen-address=127.0.0.1:${port}`,
    ];
    const child = spawn("setpriv", command, { stdio: "ignore" });
    const prometheus = new Prometheus(folder, port, child);
    while (!(await prometheus.#get("/-/ready").catch(() => undefined))?.ok) {
      if (child.exitCode !== null) throw new Error("prometheus ended");
      await sleep(50);
    }
    return prometheus;
  }

  /** The answer to a query. */
  async query(query: string): Promise<Sample[]> {
    const answer = await (await this.#get(`/api/v1/query?query=${encodeURIComponent(query)}`)).json();
    if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`);
    return answer.data.result.map(({ metric, value }: { metric: Record<string, string>; value: [number, string] }) => ({
      labels: metric,
      value: Number(value[1]),
    }));
  }

  /** The only value of an answer; undefined: it has none. */
  async value(query: string): Promise<number | undefined> {
    return (await this.query(query))[0]?.value;
  }

  /** The health of each alert rule. */
  async rules(): Promise<{ name: string; health: string }[]> {
    const { data } = await (await this.#get("/api/v1/rules")).json();
    return data.groups.flatMap(({ rules }: { rules: object[] }) => rules);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    if (this.#child.exitCode === null && this.#child.kill("SIGKILL")) await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }

  #get(path: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.#port}${path}`, { headers: { connection: "close" } });
  }
}
