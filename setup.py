"""Builds the package `tokenoscope`: pip runs this; the clone itself needs no building.

In the clone, `model` and `viz` stand at the top and import each other by these names. Installed, such names would be in
everybody's way, so both go inside `tokenoscope`, and each `from model.x import y` is written as
`from tokenoscope.model.x import y` while the files are copied into the wheel. Nothing is changed at run time.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

PACKAGE = "tokenoscope"
OURS = ("model", "viz", "app")  # what stands at the top of the clone, and inside the package once it is installed
BY_NAME = ("import_module", "find_spec", "__import__", "resource_filename", "files")
FOR_THE_PAGE = ("gradio", "starlette")  # what only the page needs: `pip install tokenoscope[app]`
NOT_READ = ("readme/**",)  # pictures of the README, which no program reads


class BuildInside(build_py):
    """Copies modules into the package, and writes their imports of each other as they are found there."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [*found, (PACKAGE, "app", "app.py")] if package == PACKAGE else found

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        target, copied = super().build_module(module, module_file, package)
        file = Path(target)
        file.write_text(inside(Path(module_file).read_text("utf-8"), module_file), "utf-8")
        return target, copied


class NotEditable(editable_wheel):
    """Says why a clone is not installed as it stands."""

    def run(self) -> None:
        raise SystemExit(
            "Tokenoscope is not installed with -e: its imports are written while the package is built. To work on the "
            "clone, put its folder on PYTHONPATH; `import tokenoscope` then gives the clone as it stands."
        )


def inside(source: str, name: str) -> str:
    """The source of a module of ours, with its imports of our modules as they are inside the package.

    Raises: SyntaxError, for an import that has no such form: `import model.x`, and a name of ours in a string.
    """
    lines = source.encode("utf-8").split(b"\n")  # positions count bytes
    for line, column in sorted(_places(ast.parse(source, name), name), reverse=True):
        text = lines[line - 1]
        lines[line - 1] = text[:column] + re.sub(
            rb"^(from\s+)?", rb"\g<0>" + PACKAGE.encode() + b".", text[column:], count=1
        )
    return b"\n".join(lines).decode("utf-8")


def _places(tree: ast.AST, name: str) -> Iterator[tuple[int, int]]:
    """Where a module of ours is imported: line, from 1, and column in bytes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module):
            yield node.lineno, node.col_offset
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if _is_ours(alias.name):
                    if alias.asname is None:
                        raise SyntaxError(f"{name}, line {node.lineno}: write `from {alias.name} import ...`")
                    yield alias.lineno, alias.col_offset
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and _is_ours(argument.value):
                    raise SyntaxError(f"{name}, line {node.lineno}: make {argument.value!r} from `__name__`")


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in OURS


def requirements(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """What is needed to run, and what for the page alone, from the lines of requirements.txt."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    page = [line for line in lines if line.startswith(FOR_THE_PAGE)]
    return [line for line in lines if line and line not in page], {"app": page}


if __name__ == "__main__":
    needed, extras = requirements(Path("requirements.txt").read_text("utf-8"))
    setup(
        packages=[
            PACKAGE,
            f"{PACKAGE}.assets",
            *(f"{PACKAGE}.{found}" for found in find_packages(include=["model*", "viz*"])),
        ],
        package_dir={PACKAGE: PACKAGE, **{f"{PACKAGE}.{folder}": folder for folder in ("model", "viz", "assets")}},
        package_data={f"{PACKAGE}.assets": ["**/*"]},
        exclude_package_data={f"{PACKAGE}.assets": list(NOT_READ)},
        install_requires=needed,
        extras_require=extras,
        cmdclass={"build_py": BuildInside, "editable_wheel": NotEditable},
    )
