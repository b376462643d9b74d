import { VirstreamError } from "../../model/error.ts";
import type { OpenWatch } from "./driver.ts";
import type { RemoteWatch } from "./watch.ts";

/** Begins watches whose code is loaded when it is first needed: a page that watches nothing need not load it. */
export function openPageWatch(load: () => Promise<{ readonly RemoteWatch: typeof RemoteWatch }>): OpenWatch {
  return (...request) => {
    let stopped = false;
    let watch: RemoteWatch | undefined;
    load().then(
      ({ RemoteWatch }) => {
        if (!stopped) watch = new RemoteWatch(...request);
      },
      (cause) => {
        if (!stopped) request[4].end(VirstreamError.from(cause));
      },
    );
    return () => {
      stopped = true;
      watch?.stop();
    };
  };
}
