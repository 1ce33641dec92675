// The matrix of projects and modules: found once, then each cell is a look-up. Sorting, finding, and the arrow keys.
import { nota, setText } from "./show.js";

const FAILING = new Set(["failed", "collect_error", "timeout", "crashed", "env_failed", "source_failed", "infra_failed"]);

export class Matrix {
  constructor(verdicts) {
    this.verdicts = verdicts;
    this.tools = document.getElementById("tools");
    // Of many projects only one page is here: then the server finds and sorts.
    this.tools.addEventListener("submit", (event) => this.isPaged || event.preventDefault());
    this.tools.addEventListener("input", () => this.arrange());
    this.tools.addEventListener("change", (event) => {
      if (this.isPaged && event.target.type !== "search") this.tools.requestSubmit();
    });
    this.read();
  }

  // After the server has made the table anew.
  read() {
    this.cells = new Map();
    this.rows = new Map();
    this.table = document.getElementById("matrix");
    const { known, cut, paged } = document.getElementById("bounds").dataset;
    this.known = Number(known); // projects and modules, shown or not
    this.isCut = cut !== ""; // not all of them have a place
    this.isPaged = paged !== "";
    this.tools.classList.toggle("asks", this.isPaged);
    if (!this.table) return;
    for (const row of this.table.tBodies[0].rows) {
      const project = row.dataset.project;
      this.rows.set(project, row);
      for (const link of row.querySelectorAll("a.cell")) {
        link.tabIndex = -1;
        this.cells.set(`${project}\0${new URL(link.href).searchParams.get("module")}`, link);
      }
    }
    this.table.addEventListener("keydown", (event) => this.move(event));
    this.table.addEventListener("focusin", (event) => event.target.matches("a.cell") && this.stopAt(event.target));
    this.arrange();
  }

  // Whether the cell is there, as far as there is a place for it.
  update(key, result) {
    const link = this.cells.get(key);
    if (!link) return this.isCut;
    const words = this.verdicts.get(result.verdict);
    if (!words) return true;
    const tests = result.passed + result.failed + result.errors;
    const told = tests ? `, ${result.passed} of ${tests} passed` : "";
    const title = link.title.slice(0, link.title.lastIndexOf(": ")) + `: ${words.label}${told}`;
    if (link.title === title) return true;
    link.className = `cell t-${words.tone}`;
    link.title = title;
    link.setAttribute("aria-label", title);
    setText(link, words.glyph);
    return true;
  }

  updateRow(name, project, modules) {
    const row = this.rows.get(name);
    if (!row) return this.isCut;
    let passed = 0;
    let tests = 0;
    let failing = 0;
    for (const result of Object.values(modules ?? {})) {
      passed += result.passed;
      tests += result.passed + result.failed + result.errors;
      failing += FAILING.has(result.verdict) ? 1 : 0;
    }
    row.dataset.nota = project.nota ?? -1;
    row.dataset.failing = failing;
    setText(row.cells[1], nota(project.nota));
    setText(row.cells[2], tests ? `${passed}/${tests}` : "–");
    return true;
  }

  arrange() {
    if (!this.table) return;
    if (!this.isPaged) this.findAndSort();
    const stop = this.table.querySelector("a.cell[tabindex='0']");
    if (!stop || stop.closest("tr").hidden) {
      const first = this.table.querySelector("tbody tr:not([hidden]) a.cell");
      if (first) this.stopAt(first);
    }
  }

  findAndSort() {
    const { q, sort, failing } = this.tools.elements;
    const wanted = q.value.trim().toLocaleLowerCase();
    const rows = [...this.rows.values()];
    let shown = 0;
    for (const row of rows) {
      const name = row.cells[0].title.toLocaleLowerCase();
      row.hidden = !name.includes(wanted) || (failing.checked && row.dataset.failing === "0");
      shown += row.hidden ? 0 : 1;
    }
    const told = shown < rows.length ? `${shown} of ${rows.length} projects shown` : "";
    setText(document.getElementById("shown"), told);
    const name = (one, other) => one.dataset.project.localeCompare(other.dataset.project);
    const orders = {
      name,
      nota: (one, other) => other.dataset.nota - one.dataset.nota || name(one, other),
      failing: (one, other) => other.dataset.failing - one.dataset.failing || name(one, other),
    };
    const sorted = rows.sort(orders[sort.value] ?? name);
    const body = this.table.tBodies[0];
    if (sorted.some((row, index) => body.rows[index] !== row)) body.append(...sorted);
  }

  // The one link of the table that Tab stops at.
  stopAt(link) {
    for (const other of this.table.querySelectorAll("a.cell[tabindex='0']")) other.tabIndex = -1;
    link.tabIndex = 0;
  }

  move(event) {
    const link = event.target.closest("a.cell");
    if (!link || event.altKey || event.metaKey) return;
    const row = link.closest("tr");
    const cell = link.parentElement;
    const rows = [...this.table.tBodies[0].rows].filter((one) => !one.hidden);
    const links = (one) => [...one.querySelectorAll("a.cell")];
    const own = links(row);
    const at = own.indexOf(link);
    const below = (from, step) => {
      for (let next = rows.indexOf(row) + from; next >= 0 && next < rows.length; next += step) {
        const found = rows[next].cells[cell.cellIndex]?.querySelector("a.cell") ?? null;
        if (found) return found;
      }
      return null;
    };
    const target = {
      ArrowRight: () => own[at + 1],
      ArrowLeft: () => own[at - 1],
      ArrowDown: () => below(1, 1),
      ArrowUp: () => below(-1, -1),
      Home: () => (event.ctrlKey ? rows.flatMap(links)[0] : own[0]),
      End: () => (event.ctrlKey ? rows.flatMap(links).at(-1) : own.at(-1)),
    }[event.key]?.();
    if (!target) return;
    event.preventDefault();
    this.stopAt(target);
    target.focus();
    target.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
