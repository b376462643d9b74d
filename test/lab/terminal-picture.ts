/** How a character looks. */
interface Look {
  bold: boolean;
  dim: boolean;
  reverse: boolean;
  /** Undefined: the terminal's own. */
  colour: string | undefined;
}

const PAPER = "#12171c";
const INK = "#d5dbe1";
const DIM = "#7d8894";
/** The colours 30 to 37, as a terminal with a dark background has them. */
const COLOURS = ["#5c6773", "#ff6b61", "#7bd88f", "#e8b860", "#6cb6ff", "#d38aea", "#5ccfe6", "#d5dbe1"];
const CELL = { width: 8, height: 17 };
const MARGIN = 10;
/** SVG's own character for what it cannot have. */
const ESCAPED: Readonly<Record<string, string>> = { "<": "&lt;", ">": "&gt;", "&": "&amp;" };

/**
 * A picture of a terminal, as SVG: text in the reader's own monospaced font, each cell at its place.
 *
 * @param screen lines with the escape sequences of colours, bold, dim and reverse
 * @param title what the picture shows, for readers who do not see it
 */
export function terminalPicture(screen: string, columns: number, title: string): string {
  const lines = screen.trimEnd().split("\n");
  const [width, height] = [columns * CELL.width + 2 * MARGIN, lines.length * CELL.height + 2 * MARGIN];
  const look: Look = { bold: false, dim: false, reverse: false, colour: undefined };
  const parts = lines.flatMap((line, row) => partsOf(line, row, look));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="100%" height="100%" rx="6" fill="${PAPER}"/>`,
    `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="${INK}" xml:space="preserve">`,
    ...parts,
    "</g>",
    "</svg>",
    "",
  ].join("\n");
}

/** The parts of a line that look the same. The look goes on in the next line. */
function partsOf(line: string, row: number, look: Look): string[] {
  const parts: string[] = [];
  let column = 0;
  for (const [i, piece] of line.split("\u001b[").entries()) {
    const end = i === 0 ? -1 : piece.indexOf("m");
    for (const code of i === 0 ? [] : piece.slice(0, end).split(";")) apply(look, Number(code));
    const text = piece.slice(end + 1);
    const cells = [...text].length;
    if (cells > 0 && (look.reverse || text.trim() !== "")) parts.push(partOf(text, cells, column, row, look));
    column += cells;
  }
  return parts;
}

function apply(look: Look, code: number): void {
  if (code === 0) Object.assign(look, { bold: false, dim: false, reverse: false, colour: undefined });
  else if (code === 1) look.bold = true;
  else if (code === 2) look.dim = true;
  else if (code === 7) look.reverse = true;
  else if (code >= 30 && code <= 37) look.colour = COLOURS[code - 30];
  else if (code === 39) look.colour = undefined;
}

function partOf(text: string, cells: number, column: number, row: number, look: Look): string {
  const [x, y, width] = [MARGIN + column * CELL.width, MARGIN + row * CELL.height, cells * CELL.width];
  const ink = look.colour ?? (look.dim ? DIM : INK);
  const box = look.reverse ? `<rect x="${x}" y="${y}" width="${width}" height="${CELL.height}" fill="${ink}"/>` : "";
  const fill = look.reverse ? PAPER : ink;
  const bold = look.bold ? ' font-weight="700"' : "";
  // Whatever the font, the cells are in their columns.
  return `${box}<text x="${x}" y="${y + 13}" textLength="${width}" lengthAdjust="spacingAndGlyphs" fill="${fill}"${bold}>${escaped(text)}</text>`;
}

function escaped(text: string): string {
  return text.replace(/[<>&]/g, (character) => ESCAPED[character]!);
}
