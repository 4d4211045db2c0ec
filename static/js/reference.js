// Blind reading by keyboard: the key of a type presses its button; it knows no label of the cell.
const form = document.getElementById("reading");
let isSent = false;
form.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const button = [...form.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key.toLowerCase());
  if (button) form.requestSubmit(button);
});
