import type { Dice } from "../lab/dice.ts";
import type { Mutator } from "./mutator.ts";

/** One end of a session, which takes the frames of the other end. */
export interface Receiver {
  /**
   * Takes a frame, and throws the VirstreamError by which the real end would close its connection.
   *
   * @param place the place in the session of the frame that this one is, or replaces
   */
  receive(frame: Uint8Array, place: number): void;
  /** Ends the session, and resolves when what it began has ended. */
  close?(): Promise<void>;
}

/** A decoder of bytes from elsewhere, with valid sessions of frames. */
export interface Decoder {
  readonly name: string;
  readonly sessions: readonly (readonly Uint8Array[])[];
  /** The codes by which it may refuse a frame. */
  readonly codes: readonly string[];
  /** Begins one of its sessions. @param dice decides what a network decides, such as where chunks end */
  open(session: number, dice: Dice): Receiver;
  /** A damaged copy of a frame. @param other a frame of which parts may be taken */
  damage(mutator: Mutator, frame: Uint8Array, other: Uint8Array): Uint8Array;
}
