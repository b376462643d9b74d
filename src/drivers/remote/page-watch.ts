import { VirstreamError } from "../../model/error.ts";
import type { OpenWatch } from "./driver.ts";
import type { RemoteWatch } from "./watch.ts";

/**
 * Returns a function that begins watches. The returned function loads the code of watches when it is called, so a web
 * page that watches nothing does not load this code.
 */
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
