import { open, rename, rm, stat } from "node:fs/promises";
import { VirstreamError } from "../../model/error.ts";
import { TokenList } from "../../server/access/token-list.ts";
import { readText, type Warn } from "../source.ts";

/**
 * The tokens of a file.
 *
 * @param warn as that of readText()
 * @throws VirstreamError `invalid-argument`, which names the file and what is wrong in it
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
 * Changes the file as a whole: a server that reads it has the tokens of before or of now. Its owner and mode stay; a new file only its
 * owner may read.
 *
 * @param mayCreate true: a file that does not exist counts as empty
 *
 * @throws VirstreamError `output-failed` when it cannot be written, also while another change is under way
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
      // The server may read it as another user than the one who changes it.
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
