// What the server sends to the pages of cells and what the pages' scripts pass to each other; types only, no code.

/** A box or a place on an image: x1, y1, x2, y2 in pixels of the image. */
export type Box = number[];

export interface Cell {
  id: number;
  image: number;
  /** the label as it is shown */
  code: string;
  /** the detector's own opinion, "" where a reader added the cell */
  said: string;
  score: number | null;
  /** the detector's three best types, best first; none where it said only one */
  chances: [string, number][];
  box: Box;
  /** the last decision on this cell, 0 where there is none */
  seen: number;
  decided: boolean;
  by: string;
  at: string;
  added: boolean;
  /** why a person must see this cell alone */
  look: string[];
  /** how many such cells may be confirmed at once */
  together: number;
}

/** A label that a reader can give. */
export interface CellType {
  code: string;
  label: string;
  short: string;
  color: string;
  key: string;
}

export type Types = import("./typetable.js").TypeTable;

export interface SlideImage {
  id: number;
  slide: string;
  slide_id: number;
  name: string;
  width: number;
  height: number;
  /** the address of its tiles, without level, column and row */
  tiles: string;
  um_per_px: number | null;
  /** neither stated nor read: good for cutting pictures, not for measuring */
  is_scale_assumed: boolean;
  /** stained nuclei that no box covers */
  nuclei: Box[];
  /** of a whole slide only */
  coverage?: Coverage | null;
}

/** What was read of a whole slide. */
export interface Coverage {
  /** edge of a block in px of the image */
  block_px: number;
  /** rows of letters: s sparse, d dense, u usable */
  kinds: string[];
  /** in px of the image */
  read: Box[];
  /** whether a reader chose what was read */
  drawn: boolean;
}

export interface Row {
  code: string;
  count: number;
  percent: number | null;
  text: string;
  low: number | null;
  high: number | null;
  per_100: number | null;
  call: string;
  call_words?: string;
  certain: boolean;
}

export interface Flag {
  title: string;
  sentence: string;
  urgency: string;
  codes: string[];
}

/** What the server has counted over all cells of the case. */
export interface Summary {
  total: number;
  cells: number;
  undecided: number;
  /** the cells that a person must see alone, those that could change most first */
  order: number[];
  settled: boolean;
  rows: Row[];
  flags: Flag[];
  sentences: string[];
  analysing: string[];
  is_limited: boolean;
}

export interface TestFigures {
  name: string;
  n: number;
  ap50: number | null;
  precision?: number[];
  recall?: number[];
  right?: number;
  of?: number;
  low?: number;
  high?: number;
}

/** How far a detector is proven on one type. */
export interface Evidence {
  level: string;
  n_train: number | null;
  tests: TestFigures[];
}

/** One decision of the reader. */
export interface Act {
  /** chosen once and sent with every retry, so that nothing is stored twice */
  key: string;
  act: "label" | "add" | "undo" | "redo";
  /** the cells that it labels; none for the other acts */
  ids: number[];
  /** null: as the cell is labelled now */
  code: string | null;
  reason?: string;
  image?: number;
  box?: Box;
}

/** What the server made of an act. */
export interface Outcome {
  key: string;
  state: "saved" | "nothing" | "refused" | "collided";
  sentence: string;
  cells: number[];
}

/** What a page of cells is given with its HTML. */
export interface PageOfCells {
  types: CellType[];
  urls: Record<string, string>;
  /** key of the person whose page this is */
  reader: number;
}

export type Tell = (sentence: string, isRefusal?: boolean, act?: { name: string; run: () => void } | null) => void;
