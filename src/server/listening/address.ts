/** The default address to listen on: this machine only. */
export const DEFAULT_LISTEN_HOST = "127.0.0.1";
/** The default port. */
export const DEFAULT_PORT = 16_580;
