// What every script does with its page: find an element that must be there, read data of the server, make an element.

/**
 * An element that the page always has.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}.`);
  return element;
}

/**
 * What the server wrote into the page as JSON; null where it wrote nothing.
 * @param {string} id
 * @returns {any}
 */
export function readJson(id) {
  return JSON.parse(document.getElementById(id)?.textContent ?? "null");
}

/**
 * The nearest element around the target of an event.
 * @param {{ target: EventTarget | null }} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export function around(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

/**
 * One element with properties and children; text only, never markup.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && name !== "role" && name !== "list") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Run something once the next picture of the screen is shown: what costs more comes after what the reader waits for.
 * @param {() => void} run
 */
export function afterPaint(run) {
  requestAnimationFrame(() => setTimeout(run));
}
