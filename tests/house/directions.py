"""Reads the imports of a source tree without running it, and says where they point the wrong way."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODEL_MAY_NOT = ("viz", "app", "gradio", "plotly", "bertviz")
VIZ_MAY_NOT = ("app", "torch", "transformers")
VIZ_MAY_TAKE = ("records", "requests", "api", "errors", "limits", "texts")  # of model/
FLOORS = (  # a room uses rooms of lower floors, and its own; rooms of one floor do not know each other
    ("model.texts",),
    ("model.errors",),
    ("model.limits",),
    ("model.records",),
    ("model.requests", "model.weights", "model.arch"),
    ("model.api", "model.capture"),
    ("model.loading",),
    ("model.experiments", "model.engine"),  # the engine knows the kinds by their registry alone
    ("model.cli",),
    ("viz.theme", "viz.markup", "viz.examples"),
    ("viz.glossary",),
    ("viz.view",),
    ("viz.account", "viz.measured", "viz.served"),
    ("viz.views",),
    ("viz.wire",),
    ("viz.pictures",),
    ("viz.export",),
    ("viz.server",),
    ("viz.pages",),
)
NO_SIBLINGS = ("model.experiments", "viz.views")  # a folder in there imports no folder beside it
ON_NO_FLOOR = ("app", "model", "model.__main__", "viz", "viz.__main__")  # doors: they may open on every room
NEEDS_GRADIO = "viz.pages"  # what stands there imports gradio, or what does
MOST_LINES = 450
BY_NAME = {
    ("model.records.trace", "viz.export")
}  # looked up, if it is there, when a notebook asks a Trace for its page
NO_NAMES = ("util", "utils", "helper", "helpers", "common", "manager", "misc")


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import statement: which module names which, and whether that happens in a running program."""

    importer: str
    target: str
    line: int
    runs: bool  # False under `if TYPE_CHECKING:`

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.target}"


def wrong_directions(root: Path) -> list[str]:
    """Every import that a floor of the house may not make, those for types alone included."""
    return [f"{one} ({reason})" for one in _imports(root) if (reason := _forbidden(one))]


def homeless(root: Path) -> list[str]:
    """Modules that stand on no floor, which no direction would hold for."""
    return [module for module in _modules(root) if _floor(module) is None and module not in ON_NO_FLOOR]


def misplaced_pages(root: Path) -> list[str]:
    """Modules of viz/pages/ that could stand elsewhere: neither they nor what they import there need gradio."""
    imports: dict[str, set[str]] = {}
    for one in _imports(root):
        if one.importer.startswith(NEEDS_GRADIO + "."):
            imports.setdefault(one.importer, set()).add(one.target)
    needing = {module for module, targets in imports.items() if any(_top(each) == "gradio" for each in targets)}
    while more := {module for module, targets in imports.items() if targets & needing} - needing:
        needing |= more
    rooms = [module for module in _modules(root) if module.startswith(NEEDS_GRADIO + ".")]
    return [module for module in rooms if module not in needing]


def circles(root: Path) -> list[str]:
    """Every circle of our modules, imports inside functions included; imports for types alone close none."""
    edges: dict[str, set[str]] = {module: set() for module in _modules(root)}
    for one in _imports(root):
        if one.runs and one.target in edges and one.target != one.importer:
            edges[one.importer].add(one.target)
    found: list[str] = []
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for target in sorted(edges[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())
    return found


def bad_names(root: Path) -> list[str]:
    """Files whose name says nothing about what is in them."""
    files = [*_modules(root).values(), *root.glob("assets/js/**/*.js"), *root.glob("tests/**/*.py")]
    return [str(file.relative_to(root)) for file in files if file.stem.lower() in NO_NAMES]


def long_modules(root: Path) -> list[str]:
    """Modules that hold more than one thing, by their length."""
    lengths = {module: len(file.read_text("utf-8").splitlines()) for module, file in _modules(root).items()}
    return [f"{module}: {lines} lines" for module, lines in lengths.items() if lines > MOST_LINES]


def _forbidden(one: Import) -> str | None:
    """Why this import may not be, or None."""
    top, _, rest = one.target.partition(".")
    floor = one.importer.partition(".")[0]
    is_page = one.importer == "app" or one.importer.startswith("viz.pages")
    if floor == "model" and top in MODEL_MAY_NOT:
        return "model/ knows no screen"
    if floor == "viz" and top in VIZ_MAY_NOT:
        return "viz/ draws records, without torch"
    if floor == "viz" and top == "model" and rest.partition(".")[0] not in VIZ_MAY_TAKE:
        return f"viz/ takes from model/ only {', '.join(VIZ_MAY_TAKE)}"
    if top == "gradio" and not is_page:
        return "gradio stands in app.py and viz/pages/"
    return _upward(one)


def _upward(one: Import) -> str | None:
    """Why this import between our own rooms may not be, or None."""
    here, there = _floor(one.importer), _floor(one.target)
    if here is None or there is None or one.importer.partition(".")[0] != one.target.partition(".")[0]:
        return None
    if here[0] < there[0]:
        return f"{there[1]} stands above {here[1]}"
    if here[0] == there[0] and here[1] != there[1]:
        return f"{here[1]} and {there[1]} stand on one floor"
    for room in NO_SIBLINGS:
        if here[1] == there[1] == room and _folder(one.importer, room) != _folder(one.target, room):
            return f"what stands side by side in {room} does not import each other"
    return None


def _floor(module: str) -> tuple[int, str] | None:
    """The floor and the room of a module; None for what stands in no room, such as a package's own file."""
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(room + "."):
                return floor, room
    return None


def _top(module: str) -> str:
    return module.partition(".")[0]


def _folder(module: str, room: str) -> str:
    """What stands directly in the room: a folder, or a file."""
    return module.removeprefix(room + ".").partition(".")[0]


def _modules(root: Path) -> dict[str, Path]:
    """The program's modules by their dotted names; a package goes by its folder's name."""
    files = [root / "app.py", *sorted(root.glob("model/**/*.py")), *sorted(root.glob("viz/**/*.py"))]
    dotted = {file: ".".join(file.relative_to(root).with_suffix("").parts) for file in files if file.exists()}
    return {name.removesuffix(".__init__"): file for file, name in dotted.items()}


def _imports(root: Path) -> Iterator[Import]:
    modules = _modules(root)
    for importer, file in modules.items():
        tree = ast.parse(file.read_text("utf-8"), filename=str(file))
        package = importer if file.name == "__init__.py" else importer.rpartition(".")[0]
        for node, runs in _walk(tree, True):
            for target in _targets(node, package, modules):
                if isinstance(node, ast.Call) and (importer, target) in BY_NAME:
                    continue
                yield Import(importer=importer, target=target, line=getattr(node, "lineno", 0), runs=runs)


def _walk(node: ast.AST, runs: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, runs
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body
        yield from _walk(child, runs and not typing_only)


def _targets(node: ast.AST, package: str, modules: dict[str, Path]) -> list[str]:
    """The modules that a node imports, as absolute dotted names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        names = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in modules else base for name in names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []
