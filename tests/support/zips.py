"""Zips for tests: good ones, and one hostile kind a function. All return the bytes of the zip."""

import io
import random
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping

WHEN = (2026, 1, 2, 3, 4, 6)
PASSING = "def test_passes():\n    assert True\n"


def make_zip(
    files: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    modes: Mapping[str, int] | None = None,
) -> bytes:
    """A plain zip; a name that ends in a slash is a folder; `modes` are Unix modes by name."""
    pairs = files.items() if isinstance(files, Mapping) else files
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        for name, content in pairs:
            archive.writestr(_info(name, (modes or {}).get(name), method), content)
    return out.getvalue()


def project_zip(wrapper: str = "", tests: int = 1) -> bytes:
    """A project with a marker and `tests` passing modules, wrapped in a folder where one is named."""
    prefix = f"{wrapper}/" if wrapper else ""
    files: dict[str, str | bytes] = {f"{prefix}requirements.txt": "", f"{prefix}app.py": "ANSWER = 42\n"}
    files |= {f"{prefix}tests/test_{number}.py": PASSING for number in range(tests)}
    return make_zip(files)


def ordinary_zip(size: int, seed: int = 0) -> bytes:
    """About `size` bytes of zip: sources that deflate about 4:1, pictures that do not, and one test."""
    source = random.Random(seed)
    files: dict[str, str | bytes] = {"requirements.txt": "", "tests/test_app.py": PASSING}
    packed = number = 0
    while packed < size:
        number += 1
        words = [f"name_{source.randrange(2000)}" for _ in range(6000)]
        text = "\n".join(" = ".join(words[at : at + 4]) for at in range(0, len(words), 4)).encode()
        files[f"src/module_{number}.py"] = text
        files[f"images/picture_{number}.png"] = source.randbytes(60_000)
        packed += len(zlib.compress(text)) + 60_000
    return make_zip(files)


# Hostile ones --------------------------------------------------------------------------------


def named(name: str) -> bytes:
    """One file whose name is exactly this in both places; the zipfile module alone would cut at a NUL."""
    placeholder = "x" * len(name.encode())
    packed = make_zip({"test_a.py": PASSING, placeholder: "content"}, method=zipfile.ZIP_STORED)
    return packed.replace(placeholder.encode(), name.encode())


def symlink(name: str = "link", target: str = "/etc/passwd") -> bytes:
    return make_zip([("test_a.py", PASSING), (name, target)], modes={name: stat.S_IFLNK | 0o777})


def special_file(kind: int = stat.S_IFIFO) -> bytes:
    return make_zip([("test_a.py", PASSING), ("special", b"")], modes={"special": kind | 0o644})


def encrypted() -> bytes:
    """The flag that says so, in both places."""
    return _patched(make_zip({"test_a.py": PASSING}), flags=1)


def unsupported_method(method: int = zipfile.ZIP_LZMA) -> bytes:
    return make_zip({"test_a.py": PASSING * 100}, method=method)


def bomb(size: int = 512 * 1024**2, name: str = "zeros.bin") -> bytes:
    """Zeros at about 1000:1, without ever holding them."""
    out = io.BytesIO()
    piece = bytes(1024**2)
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(_info(name, None, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file,
    ):
        for _ in range(size // len(piece)):
            file.write(piece)
        file.write(piece[: size % len(piece)])
    return out.getvalue()


def lying_bomb(size: int = 128 * 1024**2) -> bytes:
    """A bomb whose directory says it unpacks to 1000 bytes."""
    packed = bytearray(bomb(size))
    at = packed.rfind(b"PK\x01\x02")
    struct.pack_into("<L", packed, at + 24, 1000)
    return bytes(packed)


def overlapping(copies: int = 200) -> bytes:
    """Fifield's idea in its plainest form: every entry of the directory names the same local header."""
    one = make_zip({"a.txt": bytes(100_000)})
    end = one.rfind(b"PK\x05\x06")
    start = one.rfind(b"PK\x01\x02")
    directory = one[start:end] * copies
    return one[:start] + directory + _end_record(copies, len(directory), start)


def quoted_overlap(files: int = 50) -> bytes:
    """Fifield's zip bomb: each file begins with a stored block that quotes the next one's local header."""
    kernel = _deflate(bytes(1_000_000))
    body = _local_header("f000", zlib.crc32(bytes(1_000_000)), len(kernel), 1_000_000) + kernel
    content = bytes(1_000_000)
    parts = [(0, zlib.crc32(content), len(kernel), len(content), "f000")]
    for number in range(1, files):
        name = f"f{number:03}"
        header_size = 30 + len(parts[-1][4])
        quoted = body[:header_size]
        block = struct.pack("<BHH", 0, header_size, header_size ^ 0xFFFF)
        content = quoted + content
        packed_size = len(block) + header_size + parts[-1][2]
        crc = zlib.crc32(content)
        header = _local_header(name, crc, packed_size, len(content))
        parts = [(at + len(header) + len(block), *rest) for at, *rest in parts]  # type: ignore[misc]
        parts.append((0, crc, packed_size, len(content), name))
        body = header + block + body
    directory = b"".join(_central_header(name, crc, packed, size, at) for at, crc, packed, size, name in parts)
    return body + directory + _end_record(len(parts), len(directory), len(body))


def renamed_inside(local: str = "evil.py", central: str = "good.py") -> bytes:
    """A local header with another name than the directory's; readers disagree about it."""
    return make_zip({local: PASSING}).replace(_last_name(local), _last_name(central))


def many_entries(count: int = 20_001) -> bytes:
    return make_zip(((f"{number}.txt", b"") for number in range(count)), method=zipfile.ZIP_STORED)


def claims_entries(count: int = 4_000_000_000) -> bytes:
    """A small zip64 whose end record claims any number of entries."""
    packed = make_zip({"test_a.py": PASSING})
    end = packed.rfind(b"PK\x05\x06")
    start = packed.rfind(b"PK\x01\x02")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, end - start, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return packed[:end] + record + locator + last


def zip64(files: Mapping[str, str | bytes]) -> bytes:
    """An honest zip64: both end records, and every size in the extra fields."""
    bodies, directory = b"", b""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        packed, crc, at = _deflate(data), zlib.crc32(data), len(bodies)
        local = struct.pack("<HHQQ", 1, 16, len(data), len(packed))
        bodies += _local_header(name, crc, 0xFFFFFFFF, 0xFFFFFFFF, local) + packed
        extra = struct.pack("<HHQQQ", 1, 24, len(data), len(packed), at)
        directory += _central_header(name, crc, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, extra)
    end, count = len(bodies) + len(directory), len(files)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(bodies))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return bodies + directory + record + locator + last


def truncated(keep: float = 0.6) -> bytes:
    packed = project_zip()
    return packed[: int(len(packed) * keep)]


def wrong_checksum() -> bytes:
    return make_zip({"test_a.py": b"A" * 1000}, method=zipfile.ZIP_STORED).replace(b"A" * 1000, b"A" * 999 + b"B")


def bad_deflate() -> bytes:
    packed = bytearray(make_zip({"test_a.py": PASSING * 50}))
    start = 30 + len("test_a.py")
    packed[start : start + 8] = b"\xff" * 8
    return bytes(packed)


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "not a zip": lambda: b"this is no zip at all" * 100,
    "nothing": lambda: b"",
    "truncated": truncated,
    "wrong checksum": wrong_checksum,
    "bad deflate": bad_deflate,
    "encrypted": encrypted,
    "parent folder": lambda: named("../evil.py"),
    "parent folder inside": lambda: named("a/../../evil.py"),
    "parent by backslash": lambda: named("..\\..\\evil.py"),
    "absolute": lambda: named("/tmp/evil.py"),
    "absolute by backslash": lambda: named("\\evil.py"),
    "drive": lambda: named("C:\\evil.py"),
    "drive without a folder": lambda: named("c:evil.py"),
    "NUL in a name": lambda: named("a\0b.py"),
    "newline in a name": lambda: named("a\nb.py"),
    "escape in a name": lambda: named("a\x1b[31m.py"),
    "long part": lambda: named("a" * 256),
    "long path": lambda: named("/".join(["a" * 100] * 11)),
    "deep path": lambda: named("a/" * 100 + "b"),
    "symlink": symlink,
    "named pipe": special_file,
    "device": lambda: special_file(stat.S_IFCHR),
    "overlapping": overlapping,
    "quoted overlap": quoted_overlap,
    "same name twice": lambda: make_zip([("a.py", "1"), ("a.py", "2")]),
    "same name, other spelling": lambda: make_zip([("a/b.py", "1"), ("./a//b.py", "2")]),
    "file and folder": lambda: make_zip([("a", "1"), ("a-b", "0"), ("a/b.py", "2")]),
    "file and empty folder": lambda: make_zip([("a", "1"), ("a/", "")]),
    "other name inside": renamed_inside,
    "lzma": unsupported_method,
    "bzip2": lambda: unsupported_method(zipfile.ZIP_BZIP2),
}
"""By what is wrong with it: every one of these is malformed (400)."""


# Parts ---------------------------------------------------------------------------------------


def _info(name: str, mode: int | None, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, WHEN)
    info.filename = name  # as it is: ZipInfo tidies it
    info.compress_type = method
    info.create_system = 3
    usual = stat.S_IFDIR | 0o755 if name.endswith("/") else stat.S_IFREG | 0o644
    info.external_attr = (usual if mode is None else mode) << 16
    return info


def _last_name(name: str) -> bytes:
    """The tail of a directory entry's fixed part and the name: only the directory has them side by side."""
    return struct.pack("<L", (stat.S_IFREG | 0o644) << 16) + struct.pack("<L", 0) + name.encode()


def _patched(packed: bytes, flags: int) -> bytes:
    changed = bytearray(packed)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[changed.find(signature) + offset] |= flags
    return bytes(changed)


def _deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(data) + engine.flush()


def _local_header(name: str, crc: int, packed: int, size: int, extra: bytes = b"") -> bytes:
    fields = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0x5C22, crc, packed, size, len(name), len(extra))
    return fields + name.encode() + extra


def _central_header(name: str, crc: int, packed: int, size: int, at: int, extra: bytes = b"") -> bytes:
    fields = (b"PK\x01\x02", 0x0314, 20, 0, 8, 0, 0x5C22, crc, packed, size, len(name), len(extra), 0, 0, 0)
    return struct.pack("<4s6H3L5H2L", *fields, (stat.S_IFREG | 0o644) << 16, at) + name.encode() + extra


def _end_record(count: int, length: int, start: int) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, length, start, 0)
