/** Why a file cannot be read, for an error message; a rare reason by its code. */
export function whyUnreadable(cause: unknown): string {
  const { code = String(cause) } = cause as NodeJS.ErrnoException;
  return REASONS[code] ?? code;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "this user has no permission to read it",
  EISDIR: "it is a folder",
};
