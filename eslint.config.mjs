// What `make check` asks of the scripts of the pages: no name that is not defined, nothing unused, text never as HTML.
const browser = [
  "AbortController", "AbortSignal", "addEventListener", "Blob", "bootstrap", "BroadcastChannel",
  "cancelAnimationFrame", "Chart", "clearInterval", "clearTimeout", "confirm", "console", "createImageBitmap",
  "crypto", "CSS", "CustomEvent", "devicePixelRatio", "document", "DOMException", "DOMParser", "DOMPoint",
  "DOMRect", "Element", "Event", "EventTarget", "fetch", "File", "FileReader", "FormData", "getComputedStyle",
  "globalThis", "Headers", "history", "HTMLAnchorElement", "HTMLButtonElement", "HTMLElement", "HTMLFormElement", "HTMLImageElement",
  "HTMLInputElement", "htmx", "Image", "InputEvent", "IntersectionObserver",
  "KeyboardEvent", "localStorage", "location", "matchMedia", "MouseEvent", "MutationObserver", "navigator",
  "Node", "Notification", "OpenSeadragon", "Path2D", "performance", "PointerEvent", "queueMicrotask", "removeEventListener",
  "requestAnimationFrame", "requestIdleCallback", "ResizeObserver", "screen", "sessionStorage", "setInterval",
  "setTimeout", "structuredClone", "TextDecoder", "TextEncoder", "tus", "URL", "URLSearchParams", "window",
];

export default [
  {
    files: ["static/js/**/*.js"],
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: "module",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-undef": "error",
      "no-unused-vars": "error",
      "no-const-assign": "error",
      "no-dupe-keys": "error",
      "no-self-compare": "error",
      "no-unreachable": "error",
      "no-shadow-restricted-names": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-var": "error",
      "prefer-const": "error",
      "eqeqeq": "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Names and comments are text: use textContent." },
        { property: "outerHTML", message: "Names and comments are text: use textContent." },
        { property: "insertAdjacentHTML", message: "Names and comments are text: use textContent." },
      ],
    },
  },
];
