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

/** One for each number of places: to make one takes as long as to write a hundred numbers. @type {Map<number, Intl.NumberFormat>} */
const formats = new Map();
const language = globalThis.document?.documentElement.lang || "en";

/**
 * Write a number as the language of the page does; without `places` with as many as it has.
 * @param {number} value
 * @param {number} [places]
 */
export const decimal = (value, places = -1) => {
  if (!formats.has(places)) formats.set(places, new Intl.NumberFormat(language, { useGrouping: false, minimumFractionDigits: Math.max(places, 0), maximumFractionDigits: places < 0 ? 20 : places }));
  return /** @type {Intl.NumberFormat} */ (formats.get(places)).format(value);
};

/**
 * Write a name within a sentence: English has it in small letters, languages with capital nouns keep it.
 * @param {string} name
 */
export const withinSentence = (name) => (language.startsWith("en") ? name.toLowerCase() : name);

/** @param {string} level what a detector's evidence on a type is */
export const evidenceWords = (level) =>
  ({ none: gettext("none evidence"), weak: gettext("weak evidence"), fair: gettext("fair evidence"), good: gettext("good evidence") })[level] ?? level;
