"""Whether a folder's files are what they were when it was made. A file is read again only when it has been touched."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_SUMS = "checksums.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """A file's checksum, and what tells whether it is still the file of which that was taken."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int


def keep(folder: Path) -> None:
    """Take the checksums of all files in a folder, and keep them there."""
    _write(folder, {file.name: _sum(file) for file in sorted(folder.iterdir()) if file.name != _SUMS})


def are_kept(folder: Path) -> bool:
    """Whether a folder has checksums."""
    return bool(_read(folder))


def damaged(folder: Path) -> list[str]:
    """The files that are missing, or not what they were when their checksums were kept; none where none were kept.

    Raises: OSError, if a file can't be read.
    """
    kept = _read(folder)
    found = {name: _looked_at(folder / name, known) for name, known in kept.items()}
    wrong = [name for name, known in found.items() if known is None or known.sha256 != kept[name].sha256]
    if not wrong and found != kept:
        with suppress(OSError):  # a folder that nobody may write to is read again at the next start
            _write(folder, {name: known for name, known in found.items() if known is not None})
    return wrong


def _looked_at(file: Path, known: _Sum) -> _Sum | None:
    """The file's checksum now: the known one, if nobody has touched the file since."""
    if not file.is_file():
        return None
    stat = file.stat()
    same = (stat.st_size, stat.st_mtime_ns, stat.st_ino) == (known.size, known.mtime_ns, known.inode)
    return known if same else _sum(file)


def _sum(file: Path) -> _Sum:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    stat = file.stat()
    return _Sum(sha256=digest, size=stat.st_size, mtime_ns=stat.st_mtime_ns, inode=stat.st_ino)


def _read(folder: Path) -> dict[str, _Sum]:
    try:
        return {name: _Sum(**kept) for name, kept in json.loads((folder / _SUMS).read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(folder: Path, sums: dict[str, _Sum]) -> None:
    text = json.dumps({name: asdict(each) for name, each in sums.items()}, indent=1)
    beside = folder / f".{_SUMS}.part"
    beside.write_text(text, "utf-8")
    beside.replace(folder / _SUMS)
