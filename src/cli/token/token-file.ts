import { open, rename, rm, stat } from "node:fs/promises";
import { VirstreamError } from "../../model/error.ts";
import { TokenList } from "../../server/access/token-list.ts";
import { readText, type Warn } from "../source.ts";

/**
 * Reads the tokens of a file.
 *
 * @param warn see readText()
 * @throws VirstreamError `invalid-argument`, which names the file and the fault in it
 */
export async function readTokens(file: string, warn?: Warn): Promise<TokenList> {
  const text = await readText("file of tokens", file, warn);
  try {
    return TokenList.parse(text);
  } catch (thrown) {
    const { code, message } = VirstreamError.from(thrown);
    throw new VirstreamError(code, `the file of tokens ${file} is not valid: ${message}`, { cause: thrown });
  }
}

/**
 * Changes the tokens of a file. It replaces the file as a whole, so a server that reads the file gets either all old or
 * all new tokens. The file keeps its owner and its mode. A new file can be read by its owner only.
 *
 * @param mayCreate true: a file that does not exist counts as empty
 *
 * @throws VirstreamError `output-failed` when the file cannot be written, or while another change is under way
 */
export async function changeTokens(
  file: string,
  change: (list: TokenList) => TokenList,
  mayCreate = true,
): Promise<void> {
  const next = `${file}.new`;
  try {
    const written = await open(next, "wx", 0o600);
    try {
      // The new file gets the owner of the old one, because the server may run as another user than this process.
      const before = await stat(file).catch(() => undefined);
      if (before !== undefined) {
        await written.chown(before.uid, before.gid);
        await written.chmod(before.mode & 0o777);
      }
      await written.writeFile(change(await (mayCreate ? readTokensIfAny : readTokens)(file)).toString());
      await written.sync();
    } catch (error) {
      await rm(next, { force: true });
      throw error;
    } finally {
      await written.close();
    }
    await rename(next, file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (cause instanceof VirstreamError) throw cause;
    const advices: Record<string, string> = {
      EEXIST: `: if no other "virstream token" runs, remove ${next}`,
      ENOENT: ": its folder does not exist",
    };
    const advice = advices[code ?? ""] ?? "";
    throw new VirstreamError("output-failed", `the file of tokens ${file} cannot be written (${code})${advice}`, {
      cause,
    });
  }
}

async function readTokensIfAny(file: string): Promise<TokenList> {
  try {
    return await readTokens(file);
  } catch (error) {
    const cause = error instanceof VirstreamError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
    if (cause?.code === "ENOENT") return new TokenList([]);
    throw error;
  }
}
