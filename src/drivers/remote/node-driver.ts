import type { OpenDriver } from "../../driver/driver.ts";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import { type OpenWatch, remoteDriver } from "./driver.ts";
import { openNodeSocket } from "./node-socket.ts";
import { RemoteWatch } from "./watch.ts";

/** Begins a watch in Node, where the code of watches is loaded from the start. */
export const openNodeWatch: OpenWatch = (...request) => {
  const watch = new RemoteWatch(...request);
  return () => watch.stop();
};

/** Opens ws: and wss: URIs in Node. */
export const openRemote = remoteDriver({ openSocket: openNodeSocket, openWatch: openNodeWatch });

/**
 * Opens ws+unix: URIs. Such a URI has the path of a socket file. After a colon, it may also have the path of the
 * request.
 */
export const openSocketFile: OpenDriver = async (uri, options) => {
  if (/^ws\+unix:(\/\/)?\/[^/?#%]/i.test(uri)) return openRemote(uri, options);
  const message = `${JSON.stringify(withoutSecrets(uri))} is not of the form ws+unix:///PATH or ws+unix:///PATH:/PREFIX`;
  throw new VirstreamError("invalid-uri", message);
};
