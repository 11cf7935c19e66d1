/** Reads XML as a strict parser would, as far as answers use it: elements, text, and the few entities. */

export interface XmlElement {
  readonly name: string
  readonly text: string
  readonly children: readonly XmlElement[]
}

/** Throws where the text is not well formed, has a character that XML has not, or anything that answers don't have. */
export function parseXml(text: string): XmlElement {
  const foreign = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.exec(text)
  if (foreign !== null) throw new Error(`A character that XML has not, at ${foreign.index}.`)
  const open: { name: string; text: string; children: XmlElement[] }[] = [{ name: '', text: '', children: [] }]
  const token = /<(\/?)([A-Za-z][A-Za-z0-9]*)(?: xmlns="[^"<&]*")?(\/?)>|([^<]+)/gy
  while (token.lastIndex < text.length) {
    const at = token.lastIndex
    const [, closes, name, isEmpty, content] = token.exec(text) ?? []
    const top = open.at(-1)
    if (top === undefined) throw new Error('There is more than one root.')
    if (content !== undefined) top.text += decode(content)
    else if (name === undefined) throw new Error(`No well-formed XML at ${at}: ${text.slice(at, at + 40)}`)
    else if (closes === '/') {
      if (name !== top.name) throw new Error(`</${name}> closes <${top.name}>.`)
      open.pop()
    } else {
      const element = { name, text: '', children: [] }
      top.children.push(element)
      if (isEmpty === '') open.push(element)
    }
  }
  const [root, ...rest] = open
  const [element, ...others] = root?.children ?? []
  if (rest.length > 0 || element === undefined || others.length > 0) throw new Error('There is not one whole root.')
  return element
}

function decode(text: string): string {
  return text.replaceAll(/&([^;]*;?)/g, (_whole, entity: string) => {
    const decoded = { 'amp;': '&', 'lt;': '<', 'gt;': '>', '#xD;': '\r' }[entity]
    if (decoded === undefined) throw new Error(`The entity &${entity} is none.`)
    return decoded
  })
}
