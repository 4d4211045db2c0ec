// Loads pictures only while they are in view or one screen away, few at a time: a reader who scrolls through a thousand cells never waits
// for the pictures that flew by, and a decision never waits behind pictures. Knows elements, not cells.

const AT_ONCE = 3; // of the browser's six connections: the others are for the field's tiles and for decisions

export class Pictures {
  constructor(root) {
    this.wanted = new Set();
    this.loading = new Set();
    this.watcher = new IntersectionObserver((entries) => this.#look(entries), { root, rootMargin: "600px 0px" });
  }

  // `picture.dataset.src` says what is to be shown.
  watch(picture) {
    this.watcher.observe(picture);
    picture.addEventListener("load", () => this.#done(picture));
    picture.addEventListener("error", () => this.#done(picture));
  }

  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.hasAttribute("src")) this.wanted.add(target);
      if (isIntersecting) continue;
      this.wanted.delete(target);
      if (this.loading.delete(target)) target.removeAttribute("src");
    }
    this.#next();
  }

  #done(picture) {
    this.loading.delete(picture);
    if (picture.naturalWidth) this.watcher.unobserve(picture);
    this.#next();
  }

  #next() {
    for (const picture of this.wanted) {
      if (this.loading.size >= AT_ONCE) return;
      this.wanted.delete(picture);
      this.loading.add(picture);
      picture.src = picture.dataset.src;
    }
  }
}
