// Any cell of the cohort's matrix says what it is on being pointed at; the words are in the table already.
const WORDS = {
  "✓": "passed", "✕": "failed", "!": "error", s: "skipped", x: "failed as expected", X: "passed unexpectedly",
};
const table = document.getElementById("cohort");

table?.addEventListener("mouseover", (event) => {
  const cell = event.target.closest("tbody td");
  if (!cell || cell.title || cell.cellIndex < 2) return;
  const project = table.tHead.rows[0].cells[cell.cellIndex]?.title;
  const test = cell.parentElement.cells[0].title;
  const outcome = WORDS[cell.textContent] ?? "not reported";
  if (project) cell.title = `${project} · ${test}: ${outcome}`;
});
