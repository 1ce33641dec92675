// The nodes kept fresh, and each node's last hour drawn with uPlot.
import { fetchPage, setText, takeParts } from "./show.js";

const EVERY_MS = 5000;
const HISTORY_EVERY = 2; // its samples are ten seconds apart
const plots = new Map(); // address: { plot, box }
const place = document.getElementById("plots");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function optionsFor(width) {
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  const whole = (_, values) => values.map((value) => (Number.isInteger(value) ? value : ""));
  return {
    width,
    height: 170,
    legend: { show: false },
    cursor: { drag: { setScale: false } },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high ?? 1)] }, cpu: { range: [0, 100] } },
    axes: [axis, { ...axis, size: 36, values: whole }, { ...axis, side: 1, scale: "cpu", size: 40, grid: { show: false } }],
    series: [
      {},
      { label: "running", stroke: colour("run-solid"), width: 2, points: { show: false } },
      { label: "waiting", stroke: colour("warn-solid"), width: 2, dash: [2, 3], points: { show: false } },
      { label: "processor", scale: "cpu", stroke: colour("idle-solid"), width: 1, dash: [6, 4], points: { show: false } },
    ],
  };
}

function draw(node) {
  const samples = node.history ?? [];
  const columns = [0, 1, 2, 3].map((column) => samples.map((sample) => sample[column] ?? null));
  columns[3] = columns[3].map((value) => (value === null ? null : 100 * value));
  let known = plots.get(node.address);
  if (!known) {
    const box = document.createElement("div");
    box.className = "plot";
    box.append(document.createElement("h3"), document.createElement("div"));
    box.firstElementChild.textContent = node.address;
    box.lastElementChild.setAttribute("role", "img");
    place.append(box);
    known = { box, plot: new uPlot(optionsFor(box.lastElementChild.clientWidth), columns, box.lastElementChild) };
    plots.set(node.address, known);
  } else {
    known.plot.setData(columns);
  }
  const last = samples.at(-1);
  const most = Math.max(0, ...columns[1]);
  const told = last ? `${last[1]} running and ${last[2]} waiting now, at most ${most} running in the last hour` : "no history";
  known.box.lastElementChild.setAttribute("aria-label", `${node.address}: ${told}`);
}

function tell(state, words) {
  const live = document.getElementById("live");
  live.hidden = false;
  live.dataset.state = state;
  setText(live.lastElementChild, words);
}

let round = 0;
async function refresh() {
  if (!document.hidden) {
    try {
      if (round > 0) takeParts(await fetchPage(location.href), ["figures", "table"]);
      if (round % HISTORY_EVERY === 0) {
        const answer = await fetch("/nodes");
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        const { nodes } = await answer.json();
        document.getElementById("history").hidden = false;
        nodes.filter((node) => node.alive).forEach(draw);
      }
      round += 1;
      tell("live", "live");
    } catch {
      tell("again", "reconnecting");
    }
  }
  setTimeout(refresh, EVERY_MS);
}

function redraw() {
  for (const { plot } of plots.values()) plot.destroy();
  plots.clear();
  place.replaceChildren();
  round = 0;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(() => {
  for (const { plot, box } of plots.values()) {
    const width = box.lastElementChild.clientWidth;
    if (width && width !== plot.width) plot.setSize({ width, height: 170 });
  }
}).observe(place);
addEventListener("load", refresh, { once: true });
if (document.readyState === "complete") refresh();
