/**
 * The value by which rows are sorted. Undefined, null and NaN are unknown; rows with such values come last in both
 * orders.
 */
export type SortValue = number | bigint | string | boolean | null | undefined;

/** The direction of an order. */
export type SortOrder = "ascending" | "descending";

interface Ranked<Row> {
  readonly row: Row;
  /** The value that `by` returned; undefined if it is unknown. */
  readonly value: number | bigint | string | undefined;
  readonly position: number;
}

/**
 * The first `limit` rows in an order. Rows of equal rank stay in the order of `rows`. Numbers come before texts, and
 * texts are compared by their UTF-16 codes. For n rows it calls `by` n times, and compares O(n log limit) times.
 */
export function ranked<Row>(
  rows: Iterable<Row>,
  by: (row: Row) => SortValue,
  order: SortOrder,
  limit = Number.POSITIVE_INFINITY,
): Row[] {
  const sign = order === "ascending" ? 1 : -1;
  const compare = (one: Ranked<Row>, other: Ranked<Row>): number => {
    const [a, b] = [one.value, other.value];
    if (a === undefined || b === undefined) {
      if (a !== b) return a === undefined ? 1 : -1;
    } else if ((typeof a === "string") !== (typeof b === "string")) {
      return typeof a === "string" ? sign : -sign;
    } else if (a < b) return -sign;
    else if (a > b) return sign;
    return one.position - other.position;
  };
  const kept: Ranked<Row>[] = [];
  const cut = (): void => {
    kept.sort(compare);
    if (kept.length > limit) kept.length = limit;
  };
  let last: Ranked<Row> | undefined;
  let position = 0;
  for (const row of rows) {
    const candidate = { row, value: known(by(row)), position: position++ };
    if (last !== undefined && compare(candidate, last) > 0) continue;
    kept.push(candidate);
    // Sorting only once per `limit` candidates keeps a small `limit` cheap, even when every row is a candidate.
    if (kept.length >= 2 * limit) {
      cut();
      last = kept.at(-1);
    }
  }
  cut();
  return kept.map(({ row }) => row);
}

function known(value: SortValue): Ranked<unknown>["value"] {
  if (typeof value === "boolean") return Number(value);
  if (typeof value === "number") return Number.isNaN(value) ? undefined : value;
  return typeof value === "bigint" || typeof value === "string" ? value : undefined;
}
