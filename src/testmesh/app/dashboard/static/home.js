// Submitting with progress, and the list kept fresh. Without this script the form is sent as any other.
import { fetchPage, setAttribute, setText, showTimes } from "./show.js";

const form = document.getElementById("submit");
const by = (id) => document.getElementById(id);

// Submit -------------------------------------------------------------------------------------

function megabytes(bytes) {
  return bytes < 1048576 ? `${Math.ceil(bytes / 1024)} kB` : `${(bytes / 1048576).toFixed(1)} MB`;
}

function problem(text) {
  const place = by("problem");
  place.hidden = !text;
  setText(place, text);
}

function options() {
  const given = {};
  const { module_timeout_s: timeout, services } = form.elements;
  if (timeout.value.trim()) given.module_timeout_s = Number(timeout.value);
  if (services.value.trim()) {
    try {
      given.services = JSON.parse(services.value);
    } catch {
      throw new Error('Services: give a JSON list, as [{"command": "python3 server.py"}].');
    }
  }
  return given;
}

function message() {
  const { file, tests, urls, auth_token: token } = form.elements;
  const found = urls.value.split(/\s+/).filter(Boolean);
  const chosen = file.files[0];
  const given = options();
  if (chosen && found.length) throw new Error("Send a zip or addresses of repositories, not both at once.");
  if (chosen) {
    if (chosen.size > Number(form.dataset.max)) {
      throw new Error(`The zip has ${megabytes(chosen.size)}, and this mesh takes ${megabytes(Number(form.dataset.max))}.`);
    }
    const body = new FormData();
    body.append("file", chosen);
    if (tests.files[0]) body.append("tests", tests.files[0]);
    body.append("options", JSON.stringify(given));
    return { body };
  }
  if (!found.length) throw new Error("Choose a zip, or write the addresses of repositories, one a line.");
  if (tests.files[0]) throw new Error("Staff tests go with a zip; for repositories there are none.");
  const content = { projects: found, options: given };
  if (token.value.trim()) content.auth_token = token.value.trim();
  return { body: JSON.stringify(content), type: "application/json" };
}

function send({ body, type }) {
  const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
  request.open("POST", "/evaluation");
  request.responseType = "json";
  if (type) request.setRequestHeader("Content-Type", type);
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  request.setRequestHeader("Idempotency-Key", key);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    by("upload-bar").value = total ? (100 * loaded) / total : 0;
    setText(by("upload-text"), loaded < total ? `${megabytes(loaded)} of ${megabytes(total)}` : "checking …");
  });
  return new Promise((resolve) => {
    request.addEventListener("loadend", () => resolve(request));
    request.send(body);
  });
}

async function submit(event) {
  event.preventDefault();
  const button = form.querySelector("button.primary");
  problem("");
  let content;
  try {
    content = message();
  } catch (error) {
    problem(error.message);
    return;
  }
  button.disabled = true;
  by("upload").hidden = false;
  const { status, response } = await send(content);
  button.disabled = false;
  by("upload").hidden = true;
  if (status === 202 && response?.id) {
    form.reset();
    location.assign(`/dashboard/evaluation/${encodeURIComponent(response.id)}`);
  } else if (status === 401) {
    location.assign("/dashboard/login?next=/");
  } else {
    problem(response?.detail ?? (status ? `The answer was ${status}.` : "The mesh did not answer; try again in a moment."));
  }
}

function showChosen() {
  const chosen = form.elements.file.files[0];
  setText(by("chosen"), chosen ? `${chosen.name}, ${megabytes(chosen.size)}` : "Drop a zip here, or choose one");
}

if (form) {
  const drop = by("drop");
  form.addEventListener("submit", submit);
  form.elements.file.addEventListener("change", showChosen);
  // Anywhere on the page: a file that misses the zone must not replace the page.
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    drop.classList.remove("over");
    form.elements.file.files = event.dataTransfer.files;
    showChosen();
  });
}

// The list -----------------------------------------------------------------------------------

const [SOON_MS, LATER_MS] = [3000, 15000];

function takeList(fresh) {
  const here = by("list");
  const there = fresh.getElementById("list");
  if (!here || !there) return;
  if (here.tagName !== there.tagName) {
    location.reload();
    return;
  }
  if (here.tagName !== "TABLE") return;
  const old = new Map([...here.tBodies[0].rows].map((row) => [row.dataset.id, row]));
  const rows = [...there.tBodies[0].rows].map((row) => {
    const found = document.importNode(row, true);
    showTimes(found);
    const known = old.get(row.dataset.id);
    if (!known) return found;
    [...found.cells].forEach((cell, index) => {
      if (!cell.isEqualNode(known.cells[index])) known.cells[index].replaceChildren(...cell.childNodes);
    });
    return known;
  });
  if (rows.length !== old.size || rows.some((row, index) => here.tBodies[0].rows[index] !== row)) {
    here.tBodies[0].replaceChildren(...rows);
  }
  setAttribute(here, "data-live", there.dataset.live ?? "");
}

async function refresh() {
  if (!document.hidden) {
    try {
      takeList(await fetchPage(location.href));
    } catch {
      // the next time
    }
  }
  setTimeout(refresh, by("list")?.dataset.live ? SOON_MS : LATER_MS);
}

showTimes(document);
setTimeout(refresh, by("list")?.dataset.live ? SOON_MS : LATER_MS);
