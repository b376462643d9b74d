import type { VirstreamError } from "../../src/model/error.ts";
import type { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent, WatchSink } from "../../src/model/watch.ts";

/** Keeps what a watch pushes, as events; it fails the test that goes on after the end. */
export class CollectingSink implements WatchSink {
  readonly events: WatchEvent[] = [];
  flushes = 0;
  error: VirstreamError | undefined;

  record(record: DomainStatsRecord): void {
    this.event({ type: "record", record });
  }

  gone(domain: Domain): void {
    this.event({ type: "gone", domain });
  }

  event(event: WatchEvent): void {
    if (this.error !== undefined) throw new Error(`a ${event.type} after the end`);
    this.events.push(event);
  }

  flush(): void {
    this.flushes++;
  }

  end(error: VirstreamError): void {
    if (this.error !== undefined) throw new Error("a second end");
    this.error = error;
  }

  /** The events since the last call. */
  take(): WatchEvent[] {
    return this.events.splice(0);
  }
}

/** Pushes events one by one, and then flushes. */
export function pushAll(sink: WatchSink, events: readonly WatchEvent[]): void {
  for (const event of events) {
    if (event.type === "record") sink.record(event.record);
    else if (event.type === "gone") sink.gone(event.domain);
    else sink.event(event);
  }
  sink.flush();
}
