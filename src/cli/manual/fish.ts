import { brief, type CompletedCommand, type Words } from "./commands.ts";

/** Makes the completion script for fish. */
export function fishScript(commands: readonly CompletedCommand[]): string {
  const lines = commands.flatMap(({ name, summary, options, operands }) => {
    const within = `-n ${quoted(`__fish_seen_subcommand_from ${name}`)}`;
    return [
      `complete -c virstream -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
      ...options.map((option) => {
        const names = option.names.map((each) =>
          each.startsWith("--") ? `-l ${each.slice(2)}` : `-s ${each.slice(1)}`,
        );
        const value = option.argument === undefined ? "" : ` ${action(option.words)}`;
        return `complete -c virstream ${within} ${names.join(" ")}${value} -d ${quoted(brief(option))}`;
      }),
      ...(operands.kind === "none" ? [] : [`complete -c virstream ${within} ${action(operands).replace(/^-x /, "")}`]),
    ];
  });
  return `# Completes virstream in fish. Made by: virstream completion fish
complete -c virstream -f
complete -c virstream -n __fish_use_subcommand -s h -l help -d 'print the help'
complete -c virstream -n __fish_use_subcommand -s V -l version -d 'print the version'
${lines.join("\n")}
`;
}

function action(words: Words): string {
  switch (words.kind) {
    case "one":
      return `-x -a ${quoted(words.values.join(" "))}`;
    case "list":
      return `-x -a ${quoted(`(__fish_append , ${words.values.join(" ")})`)}`;
    case "file":
      return "-r -F";
    case "none":
      return "-x";
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
