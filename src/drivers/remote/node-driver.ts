import { type OpenWatch, remoteDriver } from "./driver.ts";
import { openNodeSocket } from "./node-socket.ts";
import { RemoteWatch } from "./watch.ts";

/** Begins a watch: Node has the code of watches from the start. */
export const openNodeWatch: OpenWatch = (...request) => {
  const watch = new RemoteWatch(...request);
  return () => watch.stop();
};

/** Opens ws: and wss: URIs in Node. */
export const openRemote = remoteDriver({ openSocket: openNodeSocket, openWatch: openNodeWatch });
