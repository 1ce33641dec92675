// The Gantt chart while it fills in; gantt.py draws the same for the page itself.
import { duration, number } from "./show.js";

const [LANE, GAP, HEAD, AXIS] = [12, 2, 20, 22];
const MOST_BARS = 4000;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const share = (value) => `${(value * 100).toFixed(3)}%`;

export function drawGantt(place, results, verdicts) {
  let runs = [];
  for (const [project, modules] of Object.entries(results)) {
    for (const [module, result] of Object.entries(modules)) {
      const begun = Date.parse(result.started_at ?? "") / 1000;
      if (!Number.isFinite(begun) || !result.node) continue;
      const ended = result.verdict === "running" ? Math.max(Date.now() / 1000, begun) : begun + result.time;
      runs.push({ begun, ended, project, module, node: result.node, verdict: result.verdict });
    }
  }
  if (!runs.length) return;
  const leftOut = runs.length - MOST_BARS;
  if (leftOut > 0) {
    runs = runs.sort((one, other) => other.ended - other.begun - (one.ended - one.begun)).slice(0, MOST_BARS);
  }
  const first = Math.min(...runs.map((run) => run.begun));
  const span = Math.max(Math.max(...runs.map((run) => run.ended)) - first, 0.001);
  const nodes = Map.groupBy ? Map.groupBy(runs, (run) => run.node) : grouped(runs);
  const drawing = [];
  let y = AXIS;
  for (const node of [...nodes.keys()].sort()) {
    const own = nodes.get(node).sort((one, other) => one.begun - other.begun || one.ended - other.ended);
    drawing.push(svg("text", { class: "node", x: 0, y: y + HEAD - 7 }, `${node} · ${own.length} module${own.length === 1 ? "" : "s"}`));
    y += HEAD;
    const free = [];
    for (const run of own) {
      let lane = free.findIndex((until) => until <= run.begun);
      if (lane < 0) lane = free.length;
      free[lane] = run.ended;
      const words = verdicts.get(run.verdict);
      const bar = svg("rect", {
        class: `t-${words?.tone ?? "idle"}`,
        x: share((run.begun - first) / span),
        y: y + lane * (LANE + GAP),
        width: share(Math.max((run.ended - run.begun) / span, 0.0005)),
        height: LANE,
        rx: 2,
      });
      bar.append(svg("title", {}, `${run.project} · ${run.module}: ${words?.label ?? run.verdict}, ${duration(run.ended - run.begun)}`));
      drawing.push(bar);
    }
    y += free.length * (LANE + GAP) + GAP;
  }
  const height = y + GAP;
  const chart = svg("svg", {
    class: "gantt", width: "100%", height, role: "img",
    "aria-label": `${runs.length} runs on ${nodes.size} nodes within ${duration(span)}`,
  });
  chart.append(...ticks(span, height), ...drawing);
  place.replaceChildren(chart);
  if (leftOut > 0) {
    const told = place.appendChild(document.createElement("p"));
    told.className = "muted";
    told.textContent = `The ${number(leftOut)} shortest runs are left out.`;
  }
}

function ticks(span, height) {
  const step = STEPS.find((one) => span / one <= 5) ?? 86400 * Math.max(1, Math.round(span / 86400 / 5));
  const drawn = [];
  for (let at = 0; at / span < 0.9; at += step) {
    const x = share(at / span);
    drawn.push(svg("line", { class: "grid", x1: x, x2: x, y1: 16, y2: height }));
    drawn.push(svg("text", { class: "tick", x, y: 11 }, label(at)));
  }
  return drawn;
}

function label(seconds) {
  if (seconds < 60) return `${Math.round(seconds * 10) / 10} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  const two = (value) => String(value).padStart(2, "0");
  const rest = Math.round(seconds) % 60;
  if (minutes < 60) return `${minutes} min${rest ? ` ${two(rest)} s` : ""}`;
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${two(minutes % 60)} min` : ""}`;
}

function grouped(runs) {
  const found = new Map();
  for (const run of runs) found.set(run.node, [...(found.get(run.node) ?? []), run]);
  return found;
}
