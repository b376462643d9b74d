/**
 * Leaves out columns until the others fit: those with the highest rank first, of one rank the last first. Columns of rank 0 stay.
 *
 * @param columns are changed
 * @param fits whether the columns that are left have room; `rank` is the highest of them
 */
export function fitColumns<Column>(
  columns: Column[],
  rankOf: (column: Column) => number,
  fits: (columns: readonly Column[], rank: number) => boolean,
): Column[] {
  for (;;) {
    const rank = Math.max(0, ...columns.map(rankOf));
    if (rank === 0 || fits(columns, rank)) return columns;
    const last = columns.findLastIndex((column) => rankOf(column) === rank);
    columns.splice(last, 1);
  }
}
