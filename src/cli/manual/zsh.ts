import { brief, type CompletedCommand, type Words } from "./commands.ts";

/**
 * Makes the completion script for zsh: save it as _virstream in a folder of `fpath`, or source it after `compinit`.
 */
export function zshScript(commands: readonly CompletedCommand[]): string {
  const list = commands.map(({ name, summary }) => `    ${described(name, summary)}`);
  const options = commands.map(
    ({ name, options }) =>
      `    ${name}) options=(\n${options.flatMap((option) => option.names.map((each) => `      ${described(each, brief(option))}`)).join("\n")}\n    ) ;;`,
  );
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter(({ argument }) => argument !== undefined)
      .map(
        ({ names, argument, words }) =>
          `    ${names.map((each) => quoted(`${name} ${each}`)).join("|")}) ${action(words, argument!)}; return ;;`,
      ),
  );
  const operands = commands.map(({ name, operands }) => `    ${name}) ${action(operands, "argument")} ;;`);
  return `#compdef virstream
# Completes virstream in zsh. Made by: virstream completion zsh
_virstream() {
  local -a commands options
  commands=(
${list.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  case "$command $words[CURRENT-1]" in
${values.join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then
    case $command in
${options.join("\n")}
    esac
    _describe -o option options
    return
  fi
  case $command in
${operands.join("\n")}
  esac
}
if [[ $funcstack[1] == _virstream ]]; then
  _virstream "$@"
else
  compdef _virstream virstream
fi
`;
}

function action(words: Words, argument: string): string {
  switch (words.kind) {
    case "one":
      return `compadd -- ${words.values.map(quoted).join(" ")}`;
    case "list":
      return `_values -s , ${quoted(argument)} ${words.values.map(quoted).join(" ")}`;
    case "file":
      return "_files";
    case "none":
      return `_message ${quoted(argument)}`;
  }
}

function described(name: string, text: string): string {
  return quoted(`${name}:${text.replaceAll(":", "\\:")}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
