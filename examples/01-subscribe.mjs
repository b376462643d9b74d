// stats() is an RxJS Observable: operators work on it, and unsubscribing ends the sweep.
//
//   node examples/01-subscribe.mjs [URI]

import { filter, map, tap } from "rxjs";
import { connect } from "virstream";

const connection = await connect(process.argv[2] ?? "test:///default?freeze=3");

connection
  .stats({ groups: ["state", "balloon", "block"], filter: ["active"], deadlineMs: 500 })
  .pipe(
    tap({ complete: () => connection.close(), error: () => connection.close() }),
    filter((record) => record.status !== "gone"),
    map(({ domain, status, reason, missing, params }) => ({
      name: domain.name,
      status: reason ? `${status} (${reason}) without ${missing.join(", ")}` : status,
      rss: params.get("balloon.rss"),
      written: params.get("block.0.wr.bytes"),
    })),
  )
  .subscribe({
    next: ({ name, status, rss, written }) => console.log(name, status, { rss, written }),
    error: (error) => console.error(`${error.message} [${error.code}]`),
  });
