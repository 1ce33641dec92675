// One evaluation, live: what the events tell is drawn at the next frame, and only the cells that changed.
import { drawGantt } from "./gantt.js";
import { Matrix } from "./matrix.js";
import { duration, fetchPage, nota, number, percent, setAttribute, setText, showTimes, takeParts } from "./show.js";
import { follow, merge } from "./stream.js";

const PARTS = ["actions", "matrix", "notes", "gantt"];
const GANTT_MS = 2000;
const CELLS_A_FRAME = 400;
const ASK_SHARE = 10; // a page that took a second is asked for again after ten at the soonest
const LIVE = { live: "live", again: "reconnecting", ended: "ended" };
const root = document.getElementById("evaluation");
const by = (id) => document.getElementById(id);

const verdicts = new Map();
for (const item of by("legend").children) {
  const { verdict, tone } = item.dataset;
  const label = item.querySelector(".label").textContent;
  verdicts.set(verdict, { tone, label, glyph: item.querySelector(".cell").textContent, item, count: item.querySelector("b") });
}
const statuses = {
  queued: ["idle", "·"], running: ["run", "▸"], done: ["good", "✓"], failed: ["bad", "✕"], cancelled: ["idle", "–"],
};
const matrix = new Matrix(verdicts);

class Live {
  constructor() {
    this.state = merge(Object.create(null), { projects: {}, module_results: {}, _run_info: {} });
    this.changed = new Set(); // "project\0module"
    this.projects = new Set();
    this.isDrawn = true;
    this.isWhole = true;
    this.isAsking = false;
    this.rest = 0;
    this.spoken = -1;
    this.ganttAt = 0;
  }

  take = (part) => {
    for (const [project, modules] of Object.entries(part.module_results ?? {})) {
      this.projects.add(project);
      for (const module of Object.keys(modules ?? {})) this.changed.add(`${project}\0${module}`);
    }
    for (const project of Object.keys(part.projects ?? {})) this.projects.add(project);
    merge(this.state, part);
    this.isWhole = this.forget(part) && this.isWhole;
    this.schedule();
  };

  schedule() {
    if (!this.isDrawn) return;
    this.isDrawn = false;
    requestAnimationFrame(() => this.draw());
  }

  // What the part says is null is there no more. Whether there was nothing of the kind.
  forget(part) {
    let isWhole = true;
    const remove = (known, told) => {
      for (const name of Object.keys(told ?? {})) {
        if (told[name] === null) {
          delete known[name];
          isWhole = false;
        }
      }
    };
    const { projects, module_results: results } = this.state;
    remove(projects, part.projects);
    for (const name of Object.keys(part.module_results ?? {})) remove(results[name] ?? {}, part.module_results[name]);
    remove(results, part.module_results);
    return isWhole;
  }

  draw() {
    this.isDrawn = true;
    let isWhole = this.isWhole;
    this.isWhole = true;
    for (const key of [...this.changed].slice(0, CELLS_A_FRAME)) {
      this.changed.delete(key);
      const [project, module] = key.split("\0");
      const result = this.state.module_results[project]?.[module];
      if (result) isWhole = matrix.update(key, result) && isWhole;
    }
    for (const name of this.projects) {
      const project = this.state.projects[name];
      if (project) isWhole = matrix.updateRow(name, project, this.state.module_results[name]) && isWhole;
    }
    this.projects.clear();
    this.drawHead();
    setTimeout(() => this.drawGantt());
    if (!isWhole) this.ask();
    if (this.changed.size) this.schedule();
  }

  drawHead() {
    const info = this.state._run_info;
    if (info.executed === undefined) return;
    const modules = info.executed + info.running + info.pending;
    setText(by("nota"), nota(info.nota));
    setText(by("percent"), percent(info["%passed"]));
    setText(by("tests-passed"), number(info.passed));
    setText(by("tests-failed"), number(info.failed));
    setText(by("tests-skipped"), number(info.skipped));
    setText(by("executed"), number(info.executed));
    setText(by("modules"), number(modules));
    setText(by("eta"), info.eta === null ? "–" : duration(info.eta));
    setText(by("took"), duration(info.eval_time));
    this.drawCounts(modules, info.executed);
    this.speak(modules, info);
    const [tone, glyph] = statuses[this.state.status] ?? statuses.queued;
    const pill = by("status");
    pill.className = `pill t-${tone}`;
    setText(pill.firstElementChild, glyph);
    setText(pill.lastElementChild, this.state.status ?? "");
  }

  drawCounts(modules, executed) {
    const counts = new Map();
    let every = 0;
    for (const results of Object.values(this.state.module_results)) {
      for (const result of Object.values(results)) {
        counts.set(result.verdict, (counts.get(result.verdict) ?? 0) + 1);
        every += 1;
      }
    }
    if (matrix.isCut && every + Object.keys(this.state.projects).length > matrix.known) this.ask();
    for (const [verdict, words] of verdicts) {
      const count = counts.get(verdict) ?? 0;
      setText(words.count, number(count));
      words.item.classList.toggle("none", count === 0);
    }
    const bar = by("bar");
    setAttribute(bar, "aria-valuemax", String(modules));
    setAttribute(bar, "aria-valuenow", String(executed));
    let x = 0;
    for (const verdict of verdicts.keys()) {
      if (verdict === "pending") continue;
      let rect = bar.querySelector(`[data-verdict="${verdict}"]`);
      if (!rect) {
        rect = bar.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
        rect.dataset.verdict = verdict;
        rect.setAttribute("height", "12");
        rect.setAttribute("class", `t-${verdicts.get(verdict).tone}`);
      }
      const width = every ? (100 * (counts.get(verdict) ?? 0)) / every : 0;
      setAttribute(rect, "x", `${x.toFixed(3)}%`);
      setAttribute(rect, "width", `${width.toFixed(3)}%`);
      x += width;
    }
  }

  // At each tenth, not at each module.
  speak(modules, info) {
    const tenth = modules ? Math.floor((10 * info.executed) / modules) : 0;
    if (tenth === this.spoken) return;
    this.spoken = tenth;
    setText(by("spoken"), `${number(info.executed)} of ${number(modules)} modules done, ${number(info.failed)} tests failed.`);
  }

  drawGantt() {
    const now = performance.now();
    if (document.hidden || now - this.ganttAt < GANTT_MS) return;
    this.ganttAt = now;
    drawGantt(by("gantt"), this.state.module_results, verdicts);
  }

  // There is something that the page has no place for (sources came, a project failed), or it has ended: the server
  // makes the page anew. Not all readers at once.
  ask() {
    if (this.isAsking) return;
    this.isAsking = true;
    setTimeout(async () => {
      const begun = performance.now();
      try {
        const fresh = await fetchPage(location.pathname + location.search);
        takeParts(fresh, PARTS);
      } catch {
        // the next change asks again
      }
      this.isAsking = false;
      matrix.read();
      this.rest = ASK_SHARE * (performance.now() - begun);
      for (const [project, modules] of Object.entries(this.state.module_results)) {
        for (const module of Object.keys(modules)) matrix.update(`${project}\0${module}`, modules[module]);
      }
    }, Math.max(300, this.rest) + Math.random() * 1500);
  }

  tell = (state) => {
    const live = by("live");
    live.hidden = false;
    live.dataset.state = state;
    setText(live.lastElementChild, LIVE[state]);
    if (state !== "ended") return;
    document.querySelector(".confirm")?.remove(); // nothing is left to cancel
    this.ask();
  };
}

showTimes(document);
if (!root.dataset.over) {
  const live = new Live();
  follow(root.dataset.evaluation, live.take, live.tell);
}
