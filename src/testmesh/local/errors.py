"""What goes wrong around the nodes, not in them."""

from testmesh.errors import TestmeshError


class LocalError(TestmeshError):
    """The mesh of this machine cannot be started or stopped; the message says what to do."""
