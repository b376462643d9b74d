/**
 * Returns why a file cannot be read, in words for an error message. For a rare reason, it returns Node's error code.
 */
export function whyUnreadable(cause: unknown): string {
  const { code = String(cause) } = cause as NodeJS.ErrnoException;
  return REASONS[code] ?? code;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "this user has no permission to read it",
  EISDIR: "it is a folder",
};
