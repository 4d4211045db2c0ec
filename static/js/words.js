// The sentences of the scripts in the language of the page: the catalogue that base.html loads gives these three functions (Django's
// JavaScriptCatalog). Where it is not there, as in node, a sentence is what is written in the script.

/** @type {{gettext?: (text: string) => string, ngettext?: (one: string, many: string, count: number) => string}} */
const catalogue = /** @type {any} */ (globalThis);

export const gettext = catalogue.gettext ?? ((/** @type {string} */ text) => text);

export const ngettext = catalogue.ngettext ?? ((/** @type {string} */ one, /** @type {string} */ many, /** @type {number} */ count) => (count === 1 ? one : many));

/**
 * Put values into a sentence: interpolate("%(count)s of %(all)s files", {count: 1, all: 2}).
 * @param {string} sentence
 * @param {Record<string, unknown>} values
 */
export const interpolate = (sentence, values) => sentence.replace(/%\((\w+)\)s/g, (_, name) => String(values[name]));
