import { ChannelState } from "../../src/wire/channel-state.ts";
import { CollectingSink } from "../sampling/collecting-sink.ts";

/** The state of a watch, and the events that come of its messages. */
export class CollectedState extends ChannelState {
  readonly sink: CollectingSink;

  constructor(owner: object = {}) {
    const sink = new CollectingSink();
    super(owner, sink, () => {});
    this.sink = sink;
  }
}
