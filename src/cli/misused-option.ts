import { listed } from "../overview/words.ts";
import { COMMAND_NAMES, optionsOf } from "./manual/help.ts";
import { suggestion } from "./nearest.ts";
import { UsageError } from "./usage.ts";

/**
 * Converts an error of Node's parser of arguments. The message of the error continues with advice for the programmer,
 * so the user gets only its first sentence, and the option that was probably meant. If the option belongs to other
 * commands, the user gets the names of these commands instead.
 *
 * @param options the names of the command's own options, without dashes
 */
export function misused(error: unknown, options: readonly string[]): UsageError {
  const message = (error as Error).message.split(". ")[0]!;
  const unknown = /^Unknown option '(--?[\w-]+)'/.exec(message)?.[1];
  if (unknown === undefined) return new UsageError(message);
  const others = COMMAND_NAMES.filter((command) => optionsOf(command).some(({ names }) => names.includes(unknown)));
  if (others.length > 0) return new UsageError(`${unknown} is an option of ${listed(others)}, and not of this command`);
  const name = unknown.replace(/^--?/, "");
  const longer = options.find((option) => option.startsWith(`${name}-`));
  const hint = longer === undefined ? suggestion(name, options, "--") : `: did you mean --${longer}?`;
  return new UsageError(`${message}${unknown.startsWith("--") ? hint : ""}`);
}
