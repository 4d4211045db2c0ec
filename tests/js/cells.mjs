// Cells as the server sends them, for the tests of the scripts.
export function cell(id, code = "NGS", more = {}) {
  return {
    id, image: 1, code, said: code, score: 0.9, chances: [], box: [0, 0, 10, 10], seen: 0, decided: false, by: "", at: "",
    added: false, look: [], together: 60, ...more,
  };
}
