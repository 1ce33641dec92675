// Server-sent events of one evaluation. EventSource itself comes back after a broken connection, with Last-Event-ID;
// where the server answered otherwise (a node that drains, too many readers) it gives up, and is begun anew here.

const WAITS_MS = [1000, 2000, 4000, 8000];

// `take(part)` gets each part of the document, `tell(state)` "live", "again" or "ended".
export function follow(id, take, tell) {
  let failures = 0;
  const path = `/evaluation/${encodeURIComponent(id)}/events`;

  function open() {
    const source = new EventSource(path);
    const on = (kind, then) =>
      source.addEventListener(kind, (event) => {
        failures = 0;
        take(JSON.parse(event.data));
        then();
      });
    on("module", () => {});
    on("project", () => {});
    on("done", () => {
      source.close();
      tell("ended");
    });
    source.addEventListener("open", () => tell("live"));
    source.addEventListener("error", () => {
      tell("again");
      if (source.readyState !== EventSource.CLOSED) return;
      const wait = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)];
      failures += 1;
      setTimeout(open, wait + Math.random() * 1000);
    });
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => event.persisted && source.readyState === EventSource.CLOSED && open(), {
      once: true,
    });
  }
  open();
}

// Objects merge, all else replaces; null for a project or a module says that it is there no more. Without a prototype, so that no name (`__proto__`) is more than a name.
export function merge(target, part) {
  for (const key of Object.keys(part)) {
    const value = part[key];
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      target[key] = merge(target[key] ?? Object.create(null), value);
    } else {
      target[key] = value;
    }
  }
  return target;
}
