import { connect, createServer } from "node:net";

/**
 * Listens on a unix socket, and fills its backlog: until the event loop's next turn, the system refuses another connection,
 * as for a daemon that hangs.
 */
export async function fillBacklog(path: string) {
  const server = createServer((socket) => socket.on("error", () => {}));
  await new Promise<void>((resolve) => server.listen({ path, backlog: 1 }, resolve));
  const clients = Array.from({ length: 4 }, () => connect(path).on("error", () => {}));
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
