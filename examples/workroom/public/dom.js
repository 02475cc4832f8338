/** Shorthand for the element with this id. */
export const byId = (id) => document.getElementById(id)

/**
 * Makes an element. A string child becomes a text node, so nothing that came over the network is ever read as markup.
 * Properties are attributes, except `onclick`.
 */
export function el(tag, { onclick, ...attributes } = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
  if (onclick !== undefined) element.addEventListener('click', onclick)
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))))
  return element
}

/** Puts a row on top of a list and lets the oldest fall off. */
export function prependBounded(list, row, most) {
  list.prepend(row)
  while (list.childElementCount > most) list.lastElementChild.remove()
}
