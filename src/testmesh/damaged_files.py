"""Files that a crash of the disk has cut or spoilt: kept for people to look at, out of the way of the program."""

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)


def set_aside(path: Path) -> None:
    """Rename it to `<name>.damaged`, in place of what had that name before. Where that fails, only a line says so."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        path.rename(aside)
    except OSError as error:
        log.warning("%s cannot be set aside: %s", path, error.strerror or error)
