import type { CompletedCommand, Words } from "./commands.ts";

/** Makes the completion script for bash 3.2 and newer. The script does not need the package bash-completion. */
export function bashScript(commands: readonly CompletedCommand[]): string {
  const options = commands.map(
    ({ name, options }) => `    ${name}) options="${options.flatMap(({ names }) => names).join(" ")}" ;;`,
  );
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter(({ argument }) => argument !== undefined)
      .map(({ names, words }) => `    ${names.map((each) => `"${name} ${each}"`).join("|")}) ${assigned(words)} ;;`),
  );
  const operands = commands.map(({ name, operands }) => `        ${name}) ${assigned(operands)} ;;`);
  return `# Completes virstream in bash. Made by: virstream completion bash
_virstream() {
  local line=\${COMP_LINE:0:COMP_POINT} command= previous= current= options= kind= values= prefix=
  local -a words
  read -ra words <<<"$line"
  if [[ $line != *[[:space:]] ]]; then
    current=\${words[\${#words[@]}-1]}
    unset "words[\${#words[@]}-1]"
  fi
  COMPREPLY=()
  if (( \${#words[@]} < 2 )); then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(" ")} --help --version" -- "$current"))
    return
  fi
  command=\${words[1]}
  previous=\${words[\${#words[@]}-1]}
  case $command in
${options.join("\n")}
  esac
  # Bash takes the = of --option=value for a word of its own.
  if [[ $current == --*=* ]]; then
    previous=\${current%%=*}
    current=\${current#*=}
  fi
  case "$command $previous" in
${values.join("\n")}
    *)
      if [[ $current == -* ]]; then
        kind=one values=$options
      else
        case $command in
${operands.join("\n")}
        esac
      fi ;;
  esac
  case $kind in
    one)
      COMPREPLY=($(compgen -W "$values" -- "$current"))
      # Bash takes a colon for the end of a word: what is before it is there already.
      if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        prefix=\${current%"\${current##*:}"}
        COMPREPLY=("\${COMPREPLY[@]#"$prefix"}")
      fi ;;
    list)
      prefix=\${current%"\${current##*,}"}
      COMPREPLY=($(compgen -P "$prefix" -W "$values" -- "\${current##*,}"))
      compopt -o nospace 2>/dev/null ;;
    file)
      local IFS=$'\\n'
      COMPREPLY=($(compgen -f -- "$current"))
      compopt -o filenames 2>/dev/null ;;
  esac
}
complete -F _virstream virstream
`;
}

function assigned(words: Words): string {
  return "values" in words ? `kind=${words.kind} values="${words.values.join(" ")}"` : `kind=${words.kind}`;
}
