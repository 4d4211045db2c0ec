// The sign page: puts a phrase into the comment where the cursor stands; it decides nothing.
const comment = document.getElementById("comment");
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-phrase]");
  if (!button) return;
  const before = comment.value.slice(0, comment.selectionStart);
  const gap = before && !/\s$/.test(before) ? " " : "";
  comment.setRangeText(gap + button.dataset.phrase, comment.selectionStart, comment.selectionEnd, "end");
  comment.focus();
});
