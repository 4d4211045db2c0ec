// The sign page: puts a phrase into the comment, lets Enter in the signature mean sign; it decides nothing.
const comment = document.getElementById("comment");
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-phrase]");
  if (!button) return;
  const before = comment.value.slice(0, comment.selectionStart);
  const gap = before && !/\s$/.test(before) ? " " : "";
  comment.setRangeText(gap + button.dataset.phrase, comment.selectionStart, comment.selectionEnd, "end");
  comment.focus();
});

// Without this, Enter would press the form's first button, which only keeps the draft.
document.querySelector(".signature-box").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("input")) return;
  event.preventDefault();
  document.getElementById("report-form").requestSubmit(document.getElementById("sign"));
});
