"""All attacks, in the order of their groups."""

from tests.attacks.corpus import (
    archives,
    dishonest,
    files,
    installs,
    kernel,
    neighbours,
    network,
    processes,
    resources,
)
from tests.attacks.model import Attack, Upload

UPLOADS: tuple[Upload, ...] = archives.ATTACKS
PROJECTS: tuple[Attack, ...] = (
    *dishonest.ATTACKS,
    *files.ATTACKS,
    *kernel.ATTACKS,
    *processes.ATTACKS,
    *network.ATTACKS,
    *resources.ATTACKS,
    *neighbours.ATTACKS,
    *installs.ATTACKS,
)
