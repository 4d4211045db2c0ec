// Loads pictures only while they are in view or one screen away, few at a time and those in view first: a reader who
// scrolls through a thousand cells never waits for the pictures that flew by, and a decision never waits behind pictures.
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
    this.near = new IntersectionObserver((entries) => this.#look(entries), { root, rootMargin: "600px 0px" });
    this.here = new IntersectionObserver((entries) => this.#note(entries), { root });
  }

  /** @param {HTMLImageElement} picture whose `data-src` says what is to be shown */
  watch(picture) {
    this.here.observe(picture);
    this.near.observe(picture);
    picture.addEventListener("load", () => this.#done(picture));
    picture.addEventListener("error", () => this.#done(picture));
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #note(entries) {
    for (const { isIntersecting, target: element } of entries) {
      const target = /** @type {HTMLImageElement} */ (element);
      if (isIntersecting) this.inView.add(target);
      else this.inView.delete(target);
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #look(entries) {
    for (const { isIntersecting, target: element } of entries) {
      const target = /** @type {HTMLImageElement} */ (element);
      if (isIntersecting && !target.hasAttribute("src")) this.wanted.add(target);
      if (isIntersecting) continue;
      this.wanted.delete(target);
      if (this.loading.delete(target)) target.removeAttribute("src");
    }
    this.#next();
  }

  /** @param {HTMLImageElement} picture */
  #done(picture) {
    this.loading.delete(picture);
    if (picture.naturalWidth) {
      this.near.unobserve(picture);
      this.here.unobserve(picture);
      this.inView.delete(picture);
    }
    this.#next();
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
