"""Seals a small secret, such as a submitter's token, so that it can be stored and sent to peers.

Only who has the mesh secret can open it, and only for the context (an evaluation's id) it was sealed for.
"""

import base64
import binascii
import contextlib
import logging
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from testmesh.damaged_files import set_aside
from testmesh.errors import InfrastructureError

log = logging.getLogger(__name__)
_VERSION = "v1."
_PURPOSE = b"testmesh sealed token v1"  # so that the same secret, used for another purpose, gives another key
_NONCE_BYTES = 12
_KEY_FILE = "node.key"
_KEY = re.compile(r"[0-9a-f]{64}")


def seal(secret: str, text: str, context: str) -> str:
    """Encrypt `text` under a key derived from `secret`, bound to `context`. The result is ASCII, and new every time."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(_derived_key(secret)).encrypt(nonce, text.encode(), context.encode())
    return _VERSION + base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(secret: str, sealed: str, context: str) -> str:
    """Open what `seal` made with the same secret and context.

    Raises:
        InfrastructureError: another secret or context, or it was tampered with or damaged.
    """
    opened = _opened(secret, sealed, context)
    if opened is None:
        raise InfrastructureError(
            "The stored token cannot be opened with this node's secret; submit the evaluation again, "
            "and see that MESH_SECRET is the same on every node."
        )
    return opened.decode()


def node_key(data_dir: Path) -> str:
    """The secret of a node that has no mesh secret: made on first use, then read from its data directory (mode 600).

    A damaged one is set aside and another made: a node that starts without the tokens that were stored (they cannot be
    opened then) is better than none.

    Raises:
        InfrastructureError: it cannot be read or written.
    """
    path = data_dir / _KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        key = _read_or_make(path)
        if key is None:
            log.warning("%s is damaged; it is set aside, and tokens that were stored before cannot be opened", path)
            set_aside(path)
            key = _read_or_make(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise InfrastructureError(
            f"The node's key {path} cannot be used: {error.strerror}; check MESH_DATA_DIR."
        ) from None
    if key is None:
        raise InfrastructureError(f"The node's key {path} is damaged and cannot be set aside; delete it.")
    return key


def _read_or_make(path: Path) -> str | None:
    """None where what is there is no key."""
    if not path.exists():
        _create_once(path, secrets.token_hex(32))
    if path.is_dir():
        return None
    key = path.read_text(encoding="ascii", errors="replace").strip()
    return key if _KEY.fullmatch(key) else None


def _derived_key(secret: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())


def _opened(secret: str, sealed: str, context: str) -> bytes | None:
    if not sealed.startswith(_VERSION):
        return None
    try:
        raw = base64.b64decode(sealed.removeprefix(_VERSION), altchars=b"-_", validate=True)
        if len(raw) < _NONCE_BYTES:
            return None
        return AESGCM(_derived_key(secret)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode())
    except (InvalidTag, binascii.Error, ValueError):
        return None


def _create_once(path: Path, key: str) -> None:
    """Put a whole key at `path`, or leave the one that another thread put there meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it never replaces the key that others already use
    finally:
        draft.unlink()
