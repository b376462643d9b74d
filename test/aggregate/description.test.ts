import { expect, it } from "vitest";
import { AggregateDriver } from "../../src/aggregate/aggregate-driver.ts";
import "../../src/drivers/builtin.ts";
import { Connection } from "../../src/client/connection.ts";

it("several hosts describe each domain by its own host, also one that is named by a label, and end together", async () => {
  const driver = await AggregateDriver.open([
    "test:///default?host=a&domains=2&seed=1",
    "test:///default?host=b&domains=2&seed=2&label=other",
  ]);
  await using connection = new Connection(driver);
  const descriptions = driver.describe({ parse: (xml) => xml });
  const domains = await connection.listDomains();
  expect(domains.map(({ host }) => host)).toEqual(["a", "a", "other", "other"]);
  for (const domain of domains) {
    expect(descriptions.of(domain)?.definition).toContain(`<uuid>${domain.uuid}</uuid>`);
  }
  await descriptions.settled();
  descriptions.close();
  expect(descriptions.of(domains[0]!)).toBeUndefined();
});

it("several hosts describe no domain of a host that they do not have", async () => {
  const driver = await AggregateDriver.open(["test:///default?host=a", "test:///default?host=b&seed=2"]);
  await using connection = new Connection(driver);
  const [domain] = await connection.listDomains();
  const descriptions = driver.describe({ parse: (xml) => xml });
  expect(descriptions.of({ ...domain!, uuid: domain!.uuid, name: domain!.name, id: 1, host: "c" })).toBeUndefined();
});
