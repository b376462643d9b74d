/**
 * Publishes the hosts of a connection to NATS. To read them, connect to nats://HOST:PORT.
 *
 * @module virstream/nats
 */

export {
  DEFAULT_PUBLISH_INTERVAL_MS,
  NatsPublisher,
  type PublisherFigures,
  type PublisherStatus,
  type PublishOptions,
  publish,
} from "./publisher.ts";
