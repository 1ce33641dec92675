"""Starting and stopping the mesh of a checkout: nodes as processes, Nginx in front."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from testmesh.local import health, nginx, processes
from testmesh.local.address import is_port_free, routed_address
from testmesh.local.errors import LocalError
from testmesh.local.processes import ProcessId
from testmesh.local.run_folder import RunFolder

_START_S = 60.0  # a node that is not healthy by then will not be
_JOIN_S = 20.0
_GRACE_S = 35.0  # for draining
_LOG_LINES = 15
_OWN_VARIABLES = ("MESH_HOST", "MESH_PORT", "MESH_ADVERTISE", "MESH_BOOTSTRAP", "MESH_DATA_DIR", "MESH_SECRET")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `port` is the entrance's; None takes 80, or the first free one from 8080."""

    nodes: int = 4
    first_port: int = 5001
    port: int | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(range(self.first_port, self.first_port + self.nodes))


def node_environ(
    environ: Mapping[str, str], *, address: str, port: int, peers: tuple[str, ...], secret: str, data: Path
) -> dict[str, str]:
    """The caller's environment with what is this node's own. A MESH_BOOTSTRAP of the caller is kept besides `peers`."""
    kept = {name: value for name, value in environ.items() if name not in (*_OWN_VARIABLES, "PYTHONPATH")}
    outside = tuple(filter(None, [environ.get("MESH_BOOTSTRAP", "").strip()]))
    own = {
        "MESH_HOST": "0.0.0.0",  # noqa: S104 - nodes of other machines join by the advertised address
        "MESH_PORT": str(port),
        "MESH_ADVERTISE": f"{address}:{port}",
        "MESH_BOOTSTRAP": ",".join(peers + outside),
        "MESH_SECRET": secret,
        "MESH_DATA_DIR": str(data),
    }
    return kept | own


class LocalMesh:
    """The mesh that belongs to one checkout; another checkout's is never touched."""

    def __init__(self, root: Path, environ: Mapping[str, str], say: Say) -> None:
        self._root = root
        self._environ = environ
        self._say = say
        self._run = RunFolder(root / ".run")
        self._run.prepare()
        self._address = environ.get("HOST_REAL_IP") or routed_address()

    def down(self) -> None:
        """Stop all that an earlier start left.

        Raises:
            LocalError: something does not end.
        """
        with self._run.locked():
            self._stop()

    def up(self, plan: Plan, *, fresh: bool) -> int:
        """Stop what is left, start anew, wait until healthy; the entrance's port.

        Raises:
            LocalError: a port is taken or a node does not start. Nothing is left running then.
        """
        with self._run.locked():
            self._stop()
            if fresh:
                self._run.drop_data()
            self._check_ports(plan)
            try:
                self._start_nodes(plan)
                entrance = self._start_entrance(plan)
            except BaseException:  # Ctrl-C too: half a mesh is of no use
                self._stop()
                raise
        self._describe(plan, entrance)
        return entrance

    def _stop(self) -> None:
        alive = [process for process in self._run.started() if processes.is_alive(process)]
        if alive:
            self._say(f"Stopping {_several(len(alive), 'process')} that an earlier start left …")
            processes.stop(alive, _GRACE_S)
        self._run.record([])

    def _check_ports(self, plan: Plan) -> None:
        for port in plan.ports:
            if not is_port_free(port):
                raise LocalError(
                    f"port {port} is taken by a program that this boot.sh did not start; end it, or give --first-port"
                )
        if plan.port is not None and (plan.port in plan.ports or not is_port_free(plan.port)):
            raise LocalError(f"port {plan.port} cannot be listened on; give another --port")

    def _start_nodes(self, plan: Plan) -> None:
        secret = self._environ.get("MESH_SECRET") or self._run.make_secret()
        addresses = {port: f"{self._address}:{port}" for port in plan.ports}
        self._say(f"Starting {_several(plan.nodes, 'node')} on {self._address}, logs in {self._run.logs} …")
        started = {}
        for port in plan.ports:
            peers = tuple(address for other, address in addresses.items() if other != port)
            environ = node_environ(
                self._environ,
                address=self._address,
                port=port,
                peers=peers,
                secret=secret,
                data=self._run.node_data(port),
            )
            started[port] = self._start(
                [sys.executable, str(self._root / "src" / "run_node.py")], f"node-{port}", environ
            )
        for port, process in started.items():
            self._await_node(port, process)
        if plan.nodes > 1 and not health.wait_until(
            lambda: all(health.live_peers(port) >= plan.nodes - 1 for port in plan.ports), _JOIN_S
        ):
            self._say(f"The nodes do not all know each other yet; is {self._address} reachable from this machine?")

    def _await_node(self, port: int, process: ProcessId) -> None:
        healthy = health.wait_until(lambda: health.is_healthy(port) or not processes.is_alive(process), _START_S)
        if not healthy or not processes.is_alive(process):
            log = self._log(f"node-{port}")
            last = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
            raise LocalError(f"the node on {port} did not start; {log} ends with:\n{last}")

    def _start_entrance(self, plan: Plan) -> int:
        """Nginx where it can be had, else the first node, is the entrance."""
        program = nginx.find_nginx()
        port = plan.port or _entrance_port(plan)
        if program is None:
            self._say(f"Nginx is not installed: the node on {plan.first_port} is the entrance.")
            return plan.first_port
        folder = self._run.nginx
        default_conf = (self._root / "default.conf").read_text()
        nginx.prepare(folder, default_conf, port, [f"127.0.0.1:{node}" for node in plan.ports])
        reason = nginx.complaint(program, folder)
        if reason is None:
            process = self._start(nginx.command(program, folder), "nginx", {"PATH": self._environ.get("PATH", "")})
            if health.wait_until(lambda: health.is_healthy(port) or not processes.is_alive(process), 10):
                if processes.is_alive(process):
                    return port
                reason = f"see {self._log('nginx')}"
            else:
                processes.stop([process], 2)
                reason = f"no node answers through port {port}"
        self._say(f"Nginx does not start ({reason}): the node on {plan.first_port} is the entrance.")
        return plan.first_port

    def _start(self, command: list[str], name: str, environ: Mapping[str, str]) -> ProcessId:
        log = self._log(name)
        if log.exists():
            shutil.move(log, log.with_suffix(".log.1"))
        process = processes.start(command, environ, log, self._root)
        self._run.record([*self._run.started(), process])
        return process

    def _log(self, name: str) -> Path:
        return self._run.logs / f"{name}.log"

    def _describe(self, plan: Plan, entrance: int) -> None:
        own = "" if entrance == 80 else f":{entrance}"
        self._say("")
        self._say(f"The mesh:  http://{self._address}{own}   (export TESTMESH_URL=http://127.0.0.1:{entrance})")
        self._say("Nodes:     " + "  ".join(f"http://{self._address}:{port}" for port in plan.ports))
        self._say("Stop:      ./boot.sh --down")
        self._say("From another machine with a copy of this folder, let a node join by:")
        self._say(join_line(plan.first_port + 2, f"{self._address} {plan.first_port}", as_process=True))
        self._say(f"           where the secret is in {self._run.secret_file} here.")


def join_line(port: int, bootstrap: str, *, as_process: bool) -> str:
    return f"           MESH_SECRET=… python3 src/local_node.py {'--process ' if as_process else ''}{port} {bootstrap}"


def _several(count: int, noun: str) -> str:
    ending = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{'' if count == 1 else ending}"


def _entrance_port(plan: Plan) -> int:
    for port in chain([80], range(8080, 8100)):
        if port not in plan.ports and is_port_free(port):
            return port
    raise LocalError("neither 80 nor any port from 8080 to 8099 can be listened on; give --port")
