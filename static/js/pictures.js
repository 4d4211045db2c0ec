// Loads the pictures of the tiles that are near, few at a time and those in view first: a reader who scrolls through
// thousands of cells never waits for the pictures that flew by, and a decision never waits behind pictures.
// Knows elements, not cells.

const AT_ONCE = 4; // of the browser's six connections: the others are for the field's tiles and for decisions

export class Pictures {
  /** @param {HTMLElement} root the scrolling element */
  constructor(root) {
    /** @type {Set<HTMLImageElement>} */
    this.wanted = new Set();
    /** @type {Set<HTMLImageElement>} */
    this.loading = new Set();
    /** @type {Set<HTMLImageElement>} */
    this.inView = new Set();
    this.here = new IntersectionObserver((entries) => this.#note(entries), { root });
    for (const end of ["load", "error"]) root.addEventListener(end, (event) => this.#done(/** @type {HTMLImageElement} */ (event.target)), true);
  }

  /** @param {HTMLImageElement} picture whose `data-src` says what is to be shown */
  want(picture) {
    if (picture.hasAttribute("src")) return;
    this.wanted.add(picture);
    this.here.observe(picture);
    this.#next();
  }

  /** @param {HTMLImageElement} picture that is no longer near */
  drop(picture) {
    this.#forget(picture);
    if (this.loading.delete(picture)) picture.removeAttribute("src");
    this.#next();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #note(entries) {
    for (const { isIntersecting, target: element } of entries) {
      const target = /** @type {HTMLImageElement} */ (element);
      if (isIntersecting) this.inView.add(target);
      else this.inView.delete(target);
    }
  }

  /** @param {HTMLImageElement} picture */
  #done(picture) {
    this.loading.delete(picture);
    this.#forget(picture);
    this.#next();
  }

  /** @param {HTMLImageElement} picture */
  #forget(picture) {
    this.wanted.delete(picture);
    this.inView.delete(picture);
    this.here.unobserve(picture);
  }

  #next() {
    while (this.loading.size < AT_ONCE && this.wanted.size) {
      const [first] = this.wanted;
      const picture = [...this.inView].find((each) => this.wanted.has(each)) ?? first;
      this.wanted.delete(picture);
      this.loading.add(picture);
      picture.src = picture.dataset.src ?? "";
    }
  }
}
