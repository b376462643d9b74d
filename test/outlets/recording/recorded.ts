import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Connection } from "../../../src/client/connection.ts";
import { SYSTEM_CLOCK } from "../../../src/driver/clock.ts";
import { RecordingDriver } from "../../../src/drivers/recording/driver.ts";
import type { WatchEvent } from "../../../src/model/watch.ts";
import {
  type ActiveRecording,
  type RecordOptions,
  startRecording,
} from "../../../src/outlets/recording/active-recording.ts";
import { owned } from "../../owned.ts";
import { TickingHost } from "../../server/ticking-host.ts";
import { until } from "../../until.ts";

/** A folder that is removed after the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "virstream-recording-"));
  owned.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** When the time of all recordings of these tests begins. */
export const BEGIN = Date.parse("2026-01-31T12:00:00Z");

/** A host that is swept when a test says so, and its recording. The time of both is the host's clock. */
export class RecordedHost {
  readonly path: string;
  readonly host: TickingHost;
  #recording: ActiveRecording | undefined;

  constructor({ domains = 3, path = join(folder(), "host.rec") }: { domains?: number; path?: string } = {}) {
    this.path = path;
    this.host = new TickingHost(domains);
    owned.push(() => this.close());
  }

  /** A host whose recorder has ended after so many sweeps. */
  static async recorded(
    ticks: number,
    options: ConstructorParameters<typeof RecordedHost>[0] = {},
  ): Promise<RecordedHost> {
    const host = new RecordedHost(options);
    await host.start();
    await host.tick(ticks);
    await host.stop();
    return host;
  }

  get now(): number {
    return BEGIN + this.host.clock.now();
  }

  get recording(): ActiveRecording {
    return this.#recording!;
  }

  async start(options: RecordOptions = {}): Promise<void> {
    const { clock } = this.host;
    const clocks = { clock, wallNow: () => this.now };
    this.#recording = await startRecording(this.host.connection, this.path, options, clocks);
  }

  /** Sweeps, with an interval of a second. The recorder has the records by then, but its files may lack the last. */
  async tick(count = 1): Promise<void> {
    await this.host.tick(count);
    this.host.clock.advance(0);
  }

  /** Waits until the files have all that was recorded. Only for a recorder in a folder of its own that has deleted no file. */
  async written(): Promise<void> {
    const folder = dirname(this.path);
    const size = () =>
      readdirSync(folder).reduce(
        (sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
        0,
      );
    await until(() => size() === this.recording.figures.bytes);
  }

  /** Ends the recorder as the user does. */
  async stop(): Promise<void> {
    await this.#recording?.close();
    this.#recording = undefined;
  }

  async close(): Promise<void> {
    // A test that makes it fail has seen its error.
    await this.stop().catch(() => {});
    await this.host.close();
  }
}

/** Opens a replay. @param clock by default that of the machine */
export async function open(path: string, parameters = "speed=max", clock = SYSTEM_CLOCK): Promise<Connection> {
  const connection = new Connection(await RecordingDriver.open(`file://${path}?${parameters}`, clock), clock);
  owned.push(() => connection.close());
  return connection;
}

/** An event in a word: the name and first value of a record, the number of a tick, … */
export function word(event: WatchEvent): string {
  switch (event.type) {
    case "record":
      return `${event.record.domain.name}=${event.record.params.get("cpu.time") ?? event.record.status}`;
    case "gone":
      return `gone ${event.domain.name}`;
    case "sync":
      return `tick ${event.tick}`;
    case "gap":
      return `gap ${event.reason} ${event.skipped}`;
    case "status":
      return event.state;
  }
}

/** All events of a replay at the greatest speed. */
export async function replayed(path: string, parameters?: string, query = {}): Promise<string[]> {
  const connection = await open(path, parameters);
  const events = await connection.watch(query).events.toArray();
  await connection.close();
  return events.map(word);
}
