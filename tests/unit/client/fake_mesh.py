"""A server that plays a mesh: answers prepared per path, remembers requests. And documents to answer with."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ID = "0b4e9f7c-53a1-4d0e-9f7a-2f6f1f0c7d11"

NODE = {
    "address": "10.0.0.1:5001",
    "alive": True,
    "status": "ok",
    "sandbox": "portable",
    "loopback": "shared",
    "version": "0.1.0",
    "cores": 4,
    "slots": 8,
    "running": 3,
    "waiting": 5,
    "cpu": 0.42,
    "memory": 0.17,
    "uptime": 125.0,
    "history": [],
}


@dataclass(frozen=True)
class Answer:
    status: int
    document: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeMesh:
    """`answers[path]` are given in turn, the last one again and again. None as an answer closes the connection."""

    answers: dict[str, list[Answer | None]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def on(self, path: str, *answers: Answer | None) -> None:
        self.answers[path] = list(answers)

    def take(self, path: str) -> Answer | None:
        left = self.answers.get(path, [problem(404, "No such path", "ask for another.")])
        return left.pop(0) if len(left) > 1 else left[0]


def problem(status: int, title: str, detail: str, **headers: str) -> Answer:
    return Answer(status, {"type": "about:blank", "title": title, "status": status, "detail": detail}, headers)


def stream(*events: tuple[str, str, Any]) -> Answer:
    """Server-sent events: id, kind, part of the document. Then the connection ends."""
    text = "".join(f"id: {number}\nevent: {kind}\ndata: {json.dumps(part)}\n\n" for number, kind, part in events)
    return Answer(200, f": hello\n\nretry: 1000\n\n{text}".encode(), {"Content_Type": "text/event-stream"})


@contextmanager
def fake_mesh() -> Iterator[FakeMesh]:
    mesh = FakeMesh()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            mesh.requests.append(Request(self.command, self.path, dict(self.headers), body))
            answer = mesh.take(self.path.partition("?")[0])
            if answer is None:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            content = answer.document
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mesh.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mesh
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def module(verdict: str = "passed", passed: int = 0, failed: int = 0, **other: Any) -> dict[str, Any]:
    counted = {"%passed": None, "%failed": None, "passed": passed, "failed": failed, "errors": 0, "skipped": 0}
    told = {"verdict": verdict, "detail": "", "time": 0.31, "node": "127.0.0.1:5001", "attempts": 1, "python": "3.11.7"}
    return counted | told | other


def evaluation(status: str, projects: dict[str, dict[str, Any]], /, **project_fields: Any) -> dict[str, Any]:
    """A document as GET /evaluation/<id> has it, with the numbers that the modules of `projects` give."""
    shown = {name: _project(status, modules) | project_fields for name, modules in projects.items()}
    everything = _project(status, {f"{name}/{path}": m for name, mods in projects.items() for path, m in mods.items()})
    modules = [result for results in projects.values() for result in results.values()]
    info = {key: everything[key] for key in ("%passed", "%failed", "nota", "executed", "running", "pending")}
    bad = ("passed", "failed", "no_tests", "cancelled", "pending", "running")
    return {
        "id": ID,
        "status": status,
        "submitted_at": "2026-11-21T19:05:00Z",
        "finished_at": None,
        "owner": "127.0.0.1:5001",
        "_run_info": info
        | {key: sum(result[key] for result in modules) for key in ("passed", "failed", "skipped")}
        | {"errors": sum(result["verdict"] not in bad for result in modules), "eval_time": 4.21, "eta": None},
        "projects": shown,
        "module_results": projects,
    }


def _project(status: str, modules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    verdicts = [result["verdict"] for result in modules.values()]
    passed = sum(result["passed"] for result in modules.values())
    counted = passed + sum(result["failed"] + result["errors"] for result in modules.values())
    percent = round(100 * passed / counted, 2) if counted else None
    return {
        "%passed": percent,
        "%failed": None if percent is None else 100 - percent,
        "nota": None if percent is None else round(percent / 5, 2),
        "status": status,
        "detail": "",
        "executed": sum(verdict not in ("pending", "running") for verdict in verdicts),
        "running": verdicts.count("running"),
        "pending": verdicts.count("pending"),
    }
