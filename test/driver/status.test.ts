import { describe, expect, it } from "vitest";
import { type ConnectionStatus, StatusListeners } from "../../src/driver/driver.ts";
import { uncaughtDuring } from "../uncaught.ts";

const LOST: ConnectionStatus = { state: "reconnecting", host: "hv1", error: undefined };

describe("The listeners to a connection's state", () => {
  it("are all called, in order, until each is removed", () => {
    const listeners = new StatusListeners();
    const heard: string[] = [];
    const removals = ["one", "two"].map((name) => listeners.add(({ state }) => heard.push(`${name} ${state}`)));
    listeners.emit(LOST);
    removals[0]!();
    removals[0]!();
    listeners.emit(LOST);
    expect(heard).toEqual(["one reconnecting", "two reconnecting", "two reconnecting"]);
  });

  it("may be one function twice, which is called until it is removed twice", () => {
    const listeners = new StatusListeners();
    let calls = 0;
    const count = () => void calls++;
    const removals = [listeners.add(count), listeners.add(count)];
    listeners.emit(LOST);
    removals[0]!();
    listeners.emit(LOST);
    expect(calls).toBe(3);
  });

  it("may be added and removed by a listener", () => {
    const listeners = new StatusListeners();
    const heard: string[] = [];
    const remove = listeners.add(() => {
      heard.push("once");
      remove();
      listeners.add(() => heard.push("later"));
    });
    listeners.emit(LOST);
    listeners.emit(LOST);
    expect(heard).toEqual(["once", "later"]);
  });

  it("do not feel what another one throws: that is an uncaught exception of its own", async () => {
    const listeners = new StatusListeners();
    const error = new Error("a fault in a listener");
    const heard: string[] = [];
    listeners.add(() => {
      throw error;
    });
    listeners.add(({ state }) => heard.push(state));
    const uncaught = await uncaughtDuring(async () => {
      listeners.emit(LOST);
      expect(heard).toEqual(["reconnecting"]);
    });
    expect(uncaught).toEqual([error]);
  });
});
