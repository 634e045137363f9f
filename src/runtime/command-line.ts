// Splits an app's command line into words as a POSIX shell would, without expanding anything. Pure.
// Owns quoting and what can not be done without a shell. A line that needs one is run by `/bin/sh -c`.

/** Characters that mean something to a shell outside quotes. */
const shellCharacters = new Set('|&;<>()$`*?[]#~={}!\n');

/** The words, or null when only a shell can run the line (pipes, variables, patterns, an unclosed quote). */
export function splitCommandLine(line: string): readonly string[] | null {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let at = 0; at < line.length; at += 1) {
    const character = line.charAt(at);
    if (quote !== undefined) {
      if (character === quote) quote = undefined;
      else if (quote === '"' && (character === '$' || character === '`' || character === '\\')) return null;
      else word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (character === ' ' || character === '\t') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '\\') {
      at += 1;
      if (at === line.length) return null;
      word = (word ?? '') + line.charAt(at);
    } else if (
      shellCharacters.has(character) &&
      !(character === '=' && word !== undefined && words.length > 0)
    ) {
      return null;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== undefined) return null;
  if (word !== undefined) words.push(word);
  return words;
}
