import { choice, parse } from "../arguments.ts";
import { ExitCode, UsageError } from "../usage.ts";
import { bashScript } from "./bash.ts";
import { completedCommands, SHELLS } from "./commands.ts";
import { fishScript } from "./fish.ts";
import { zshScript } from "./zsh.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/**
 * `virstream completion SHELL`: prints a script with which the shell completes virstream's command lines. Resolves with
 * the exit code.
 */
export async function completion(args: readonly string[]): Promise<number> {
  const [shell, other] = parse(args, {}).positionals;
  if (shell === undefined || other !== undefined) {
    throw new UsageError(`completion takes the name of a shell: ${SHELLS.join(", ")}`);
  }
  process.stdout.write(SCRIPTS[choice("completion", shell, SHELLS)](completedCommands()));
  return ExitCode.ok;
}
