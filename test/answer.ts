import { once } from "node:events";
import { request as requestHttp } from "node:http";
import { type RequestOptions, request as requestHttps } from "node:https";
import { type ClientOptions, WebSocket } from "ws";
import { until } from "./until.ts";

/** The answer to a request with any headers, also those that `fetch` does not let a program set. */
export async function answerAt(
  url: string,
  options: RequestOptions = {},
): Promise<{ readonly status: number; readonly text: string }> {
  const send = url.startsWith("https:") ? requestHttps : requestHttp;
  const [response] = await once(send(url, { agent: false, ...options }).end(), "response");
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  return { status: response.statusCode, text };
}

/** The status of the answer to a request for a WebSocket, which is dropped. */
export async function upgradeStatusAt(url: string, subprotocol: string, options: ClientOptions): Promise<number> {
  const socket = new WebSocket(url, subprotocol, options);
  let status: number | undefined;
  socket.on("error", () => {});
  socket.once("upgrade", ({ statusCode }) => {
    status = statusCode;
  });
  socket.once("unexpected-response", (sent, { statusCode }) => {
    status = statusCode;
    sent.destroy();
    socket.terminate();
  });
  await until(() => status !== undefined);
  socket.terminate();
  return status!;
}
