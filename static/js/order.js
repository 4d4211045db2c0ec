// The cells that a person must see alone, in the server's order by what they could change; what is decided drops out
// at once and comes back when it is undone. Pure.

export class Order {
  constructor() {
    /** @type {number[]} */
    this.ids = [];
    /** @type {Map<number, number>} */
    this.places = new Map();
    /** @type {Set<number>} */
    this.open = new Set();
  }

  /**
   * @param {number[]} ids in the server's order
   * @param {(id: number) => boolean} isOpen whether nobody has decided the cell
   */
  set(ids, isOpen) {
    this.ids = ids;
    this.places = new Map(ids.map((id, place) => [id, place]));
    this.open = new Set(ids.filter(isOpen));
  }

  /**
   * @param {number} id
   * @param {boolean} isOpen
   */
  mark(id, isOpen) {
    if (!this.places.has(id)) return;
    if (isOpen) this.open.add(id);
    else this.open.delete(id);
  }

  get count() {
    return this.open.size;
  }

  /**
   * The open cell before or after another one, from the other end where there is none; the first or last one where the
   * other is not in the list.
   * @param {number | null} id
   * @param {1 | -1} direction
   * @returns {number | undefined}
   */
  beside(id, direction) {
    if (!this.open.size) return undefined;
    const length = this.ids.length;
    const from = id === null ? undefined : this.places.get(id);
    let place = from ?? (direction > 0 ? -1 : length);
    for (let steps = 0; steps <= length; steps += 1) {
      place = (place + direction + length) % length;
      if (this.open.has(this.ids[place])) return this.ids[place];
    }
    return undefined;
  }

  /**
   * The next open cells after one, without going round.
   * @param {number | null} id
   * @param {number} number
   * @returns {number[]}
   */
  after(id, number) {
    const found = [];
    const from = id === null ? undefined : this.places.get(id);
    for (let place = (from ?? -1) + 1; place < this.ids.length && found.length < number; place += 1) {
      if (this.open.has(this.ids[place])) found.push(this.ids[place]);
    }
    return found;
  }
}
