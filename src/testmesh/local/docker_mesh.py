"""The mesh of a checkout as containers: docker-compose.yml, with this machine's address and ports."""

import os
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

from testmesh.local import engine, health
from testmesh.local.address import is_port_free, routed_address
from testmesh.local.engine import Engine
from testmesh.local.errors import LocalError
from testmesh.local.mesh import join_line
from testmesh.local.run_folder import RunFolder

_START_S = 120.0
_JOIN_S = 30.0
_LOG_LINES = 15
_NODES = 4
_FIRST_PORT = 5001
_SECRET_FILE = "/secret/mesh"  # noqa: S105 - where it is, not what; see docker/entrypoint.py

_FOLDER_LABEL = "com.docker.compose.project.working_dir"

Say = Callable[[str], None]


class DockerMesh:
    """The compose project of one checkout; another's is never touched."""

    def __init__(self, root: Path, environ: Mapping[str, str], say: Say) -> None:
        self._root = root
        self._environ = environ
        self._say = say
        self._run = RunFolder(root / ".run")
        self._address = environ.get("HOST_REAL_IP") or routed_address()

    def find_engine(self) -> Engine:
        """
        Raises:
            LocalError: containers cannot be started here; why.
        """
        if not (self._root / "docker-compose.yml").is_file():
            raise LocalError("docker-compose.yml is missing in this folder")
        return engine.find_engine(self._environ)

    def down(self, found: Engine) -> None:
        """Stop and remove the containers; their volumes stay.

        Raises:
            LocalError: they cannot be removed, or are another checkout's.
        """
        self._run.prepare()
        with self._run.locked():
            self._remove(found, fresh=False)

    def up(self, found: Engine, port: int | None, *, fresh: bool) -> int:
        """Build, stop what is left, start anew, wait until healthy; the entrance's port.

        Raises:
            LocalError: a port is taken, or something cannot be built or started. Nothing is left running then.
        """
        self._run.prepare()
        with self._run.locked():
            self._learn_secret(found)
            self._say("Building the image …")
            self._compose(found, "build", environ=self._project_environ(found, port or 80))
            self._remove(found, fresh=fresh)
            ports = self._node_ports()
            entrance = self._entrance_port(port, ports)
            environ = self._project_environ(found, entrance)
            try:
                self._say(f"Starting {_NODES} nodes and Nginx as containers …")
                self._compose(found, "up", "-d", "--remove-orphans", environ=environ)
                self._await(found, ports, entrance, environ)
            except BaseException:  # Ctrl-C too: half a mesh is of no use
                self._remove(found, fresh=False)
                raise
            self._learn_secret(found)
        self._describe(ports, entrance)
        return entrance

    def _project_environ(self, found: Engine, entrance: int) -> dict[str, str]:
        secret = self._environ.get("MESH_SECRET") or self._run.secret() or ""
        defaults = {"NODE_CPUS": str(max(1, (os.cpu_count() or 1) // _NODES))}
        if found.fresh_proc:
            defaults["NODE_PROC"] = "systempaths=unconfined"
        own = {"HOST_REAL_IP": self._address, "ENTRANCE_PORT": str(entrance), "MESH_SECRET": secret}
        return defaults | dict(self._environ) | own

    def _node_ports(self) -> list[int]:
        ports = []
        for number in range(_NODES):
            variable = f"CNODE{number + 1}_PORT"
            text = self._environ.get(variable) or str(_FIRST_PORT + number)
            if not text.isdecimal():
                raise LocalError(f"{variable}={text} is not a port; give a number from 1 to 65535")
            if not is_port_free(int(text)):
                raise LocalError(f"port {text} is taken by another program; end it, or set {variable}")
            ports.append(int(text))
        return ports

    def _entrance_port(self, wanted: int | None, nodes: list[int]) -> int:
        given = self._environ.get("ENTRANCE_PORT", "")
        choice = [wanted] if wanted else [int(given)] if given.isdecimal() else chain([80], range(8080, 8100))
        for port in choice:
            if port not in nodes and is_port_free(port):
                return port
        raise LocalError("the entrance's port is taken, and so are all that could stand in; give another --port")

    def _await(self, found: Engine, ports: list[int], entrance: int, environ: Mapping[str, str]) -> None:
        for port in (*ports, entrance):
            failed = not health.wait_until(
                lambda port=port: health.is_healthy(port) or self._restarting(found),  # type: ignore[misc]
                _START_S,
            )
            if failed or not health.is_healthy(port):
                self._compose(found, "ps", environ=environ)
                self._compose(found, "logs", "--tail", str(_LOG_LINES), environ=environ)
                raise LocalError(f"nothing healthy answers on port {port}; above is what the containers say")
        if not health.wait_until(lambda: all(health.live_peers(port) >= _NODES - 1 for port in ports), _JOIN_S):
            self._say(
                f"The nodes do not all know each other yet; can containers reach {self._address}? A firewall of this "
                f"machine has to let in ports {ports[0]} to {ports[-1]}; HOST_REAL_IP names another address."
            )

    def _restarting(self, found: Engine) -> bool:
        """Whether a container ends as soon as it starts: it would do so for ever."""
        ours = f"label={_FOLDER_LABEL}={self._root}"
        command = [found.docker, "ps", "--quiet", "--filter", ours, "--filter", "status=restarting"]
        return bool(engine.ask(command, self._environ).stdout.strip())

    def _remove(self, found: Engine, *, fresh: bool) -> None:
        environ = self._project_environ(found, 80)
        containers = engine.ask([*found.compose, "ps", "-q"], environ, self._root).stdout.split()
        if not containers and not fresh:
            return
        self._check_ours(found, containers)
        self._say("Removing what an earlier start left …")
        self._compose(found, "down", "--remove-orphans", *(["--volumes"] if fresh else []), environ=environ)

    def _check_ours(self, found: Engine, containers: list[str]) -> None:
        """compose tells projects apart by the folder's name alone."""
        for container in containers:
            command = [
                found.docker,
                "inspect",
                "--format",
                f'{{{{index .Config.Labels "{_FOLDER_LABEL}"}}}}',
                container,
            ]
            folder = engine.ask(command, self._environ).stdout.strip()
            if folder and Path(folder).resolve() != self._root.resolve():
                raise LocalError(
                    f"the containers of this name belong to {folder}; stop them there, or set COMPOSE_PROJECT_NAME here"
                )

    def _learn_secret(self, found: Engine) -> None:
        """A secret that the containers made is kept here too, for local_node.py and for the next start."""
        if self._environ.get("MESH_SECRET") or self._run.secret():
            return
        command = [*found.compose, "exec", "-T", "cnode1", "cat", _SECRET_FILE]
        told = engine.ask(command, self._project_environ(found, 80), self._root)
        if told.returncode == 0 and told.stdout.strip():
            self._run.keep_secret(told.stdout.strip())

    def _compose(self, found: Engine, *arguments: str, environ: Mapping[str, str]) -> None:
        engine.run([*found.compose, *arguments], environ, self._root)

    def _describe(self, ports: list[int], entrance: int) -> None:
        own = "" if entrance == 80 else f":{entrance}"
        self._say("")
        self._say(f"The mesh:  http://{self._address}{own}   (export TESTMESH_URL=http://127.0.0.1:{entrance})")
        self._say("Nodes:     " + "  ".join(f"http://{self._address}:{port}" for port in ports))
        self._say("Stop:      ./boot.sh --down")
        self._say("From another machine with a copy of this folder, let a node join by:")
        self._say(join_line(5005, f"{self._address} {ports[0]}", as_process=False))
        self._say(f"           where the secret is in {self._run.secret_file} here.")
