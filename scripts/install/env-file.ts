/** Environment files as systemd reads them (systemd.exec(5), EnvironmentFile=). */

/** The last assignment of a name counts; quotes are taken off as systemd does where they enclose the whole value. */
export function readEnvFile(text: string): Record<string, string> {
  const values: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*$/.exec(line) ?? []
    if (name === undefined || value === undefined) continue
    const [, single] = /^'([^']*)'$/.exec(value) ?? []
    const [, double] = /^"((?:[^"\\]|\\.)*)"$/.exec(value) ?? []
    values[name] = single ?? double?.replaceAll(/\\(["\\`$])/g, '$1') ?? value
  }
  return values
}

/**
 * The file with these settings in it, and every other line as it was: an assignment is changed where it stands, a new
 * one goes below its example (`#NAME=`) or to the end.
 */
export function setInEnvFile(text: string, settings: Readonly<Record<string, string>>): string {
  const lines = text === '' ? [] : text.replace(/\n$/, '').split('\n')
  const now = readEnvFile(text)
  for (const [name, value] of Object.entries(settings)) {
    if (now[name] === value) continue
    const line = `${name}=${quoted(value)}`
    const at = lines.findLastIndex((each) => each.trimStart().startsWith(`${name}=`))
    const example = lines.findIndex((each) => each.startsWith(`#${name}=`))
    if (at >= 0) lines[at] = line
    else if (example >= 0) lines.splice(example + 1, 0, line)
    else lines.push(line)
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

/** The file with the assignments of these names made comments, so that nothing is lost and nothing of them holds. */
export function clearInEnvFile(text: string, names: readonly string[]): string {
  const cleared = new Set(names)
  return text
    .split('\n')
    .map((line) => (cleared.has(/^\s*([A-Za-z_][A-Za-z0-9_]*)=/.exec(line)?.[1] ?? '') ? `#${line.trimStart()}` : line))
    .join('\n')
}

function quoted(value: string): string {
  if (/^[\w./:@,+-]*$/.test(value)) return value
  return value.includes("'") ? `"${value.replaceAll(/["\\`$]/g, '\\$&')}"` : `'${value}'`
}
