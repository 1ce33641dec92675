// How values are shown, as text.py does it. Whatever comes from an upload becomes text, never markup.

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      time.title = time.dateTime;
      setText(time, MOMENT.format(moment));
    }
  }
}

export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
export const nota = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
export const percent = (value) =>
  value === null || value === undefined ? "–" : `${String(Math.round(value * 100) / 100)} %`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

// The same page as the server makes it now; throws where it cannot be had.
export async function fetchPage(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Takes over the parts `[data-part]` that differ.
export function takeParts(fresh, names) {
  for (const name of names) {
    const here = document.querySelector(`[data-part="${name}"]`);
    const there = fresh.querySelector(`[data-part="${name}"]`);
    if (!here || !there || here.contains(document.activeElement)) continue;
    const found = document.importNode(there, true);
    showTimes(found);
    if (!here.isEqualNode(found)) here.replaceChildren(...found.childNodes);
  }
}
