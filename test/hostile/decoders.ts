import { CLIENT_REQUESTS, SERVER_SESSIONS } from "./client-requests.ts";
import { DAEMON_REPLIES } from "./daemon-replies.ts";
import type { Decoder } from "./decoder.ts";
import { SERVER_MESSAGES } from "./server-messages.ts";

/** Every decoder of bytes that come from another program. */
export const DECODERS: readonly Decoder[] = [CLIENT_REQUESTS, ...SERVER_SESSIONS, SERVER_MESSAGES, DAEMON_REPLIES];
