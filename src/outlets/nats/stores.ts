import type { NatsConnection } from "@nats-io/transport-node";
import { type NatsLibrary, natsError } from "../../drivers/nats/library.ts";
import type { Subjects } from "../../drivers/nats/subjects.ts";
import type { VirstreamError } from "../../model/error.ts";

/** How NATS keeps the messages. A bucket or stream that already exists stays as it is. */
export interface StoreOptions {
  /** The number of servers of a cluster that keep a copy, 1 to 5. */
  readonly replicas: number;
  /** A host disappears from the bucket after this many ms without a publication; 0: never. */
  readonly maxAgeMs: number;
  /** How long a stream retains all ticks, in ms; 0: no stream. */
  readonly retainMs: number;
}

/** NATS counts times in ns. */
const NS_PER_MS = 1e6;
/** NATS ignores a message that is published again within this many ms. */
const DUPLICATES_MS = 120_000;

/** Creates the bucket, and the stream if the options ask for one, unless they exist. */
export async function createStores(
  library: NatsLibrary,
  connection: NatsConnection,
  uri: string,
  subjects: Subjects,
  { replicas, maxAgeMs, retainMs }: StoreOptions,
): Promise<void> {
  await permitted(uri, async () => {
    await new library.kv.Kvm(connection).create(subjects.bucket, {
      ...{ replicas, description: "virstream: the newest state of each host" },
      ...(maxAgeMs > 0 && { ttl: maxAgeMs }),
    });
  });
  if (retainMs === 0) return;
  await permitted(uri, async () => {
    const { jetstreamManager, DiscardPolicy, RetentionPolicy, StorageType } = library.jetstream;
    const { streams } = await jetstreamManager(connection, { checkAPI: false });
    const exists = await streams.info(subjects.stream).then(
      () => true,
      (error: Error) => {
        if (error.message === "stream not found") return false;
        throw error;
      },
    );
    if (exists) return;
    await streams.add({
      ...{ name: subjects.stream, subjects: [subjects.tick("*")], description: "virstream: the ticks of all hosts" },
      ...{ retention: RetentionPolicy.Limits, discard: DiscardPolicy.Old, storage: StorageType.File },
      ...{ num_replicas: replicas, max_age: retainMs * NS_PER_MS },
      duplicate_window: Math.min(retainMs, DUPLICATES_MS) * NS_PER_MS,
    });
  });
}

/**
 * Ignores the error that creation is not permitted: a publisher without this permission uses the bucket and the stream
 * that an administrator has created.
 */
async function permitted(uri: string, create: () => Promise<void>): Promise<void> {
  try {
    await create();
  } catch (thrown) {
    const error: VirstreamError = natsError(thrown, uri);
    if (error.code !== "denied") throw error;
  }
}
