"""The rooms of the page's scripts keep their directions, and each check is seen to find what it looks for."""

from pathlib import Path

import pytest

from tests.house.script_directions import SCRIPTS, circles, homeless, wrong_directions

ROOT = Path(__file__).parents[2]


def test_every_script_imports_its_own_room_and_those_below():
    assert wrong_directions(ROOT) == []


def test_no_scripts_import_each_other_in_a_circle():
    assert circles(ROOT) == []


def test_every_script_stands_in_a_room():
    assert (ROOT / SCRIPTS).is_dir()
    assert homeless(ROOT) == []


def tree(folder: Path, files: dict[str, str]) -> Path:
    """A source tree with these scripts, and an empty one in every room."""
    empty = dict.fromkeys(
        ["core/dom.js", "data/store.js", "views/tokens/tokens.js", "views/layers/layers.js", "board/page.js"], ""
    )
    for name, content in {**empty, **files}.items():
        file = folder / SCRIPTS / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder


def test_a_tree_that_keeps_to_the_directions_passes(tmp_path: Path):
    source = tree(
        tmp_path,
        {
            "core/format.js": '// import { Run } from "../data/store.js";\nexport const more = 1;',
            "core/dom.js": '/** @typedef {import("./format.js").Page} Page */\nimport { a } from "./format.js";',
            "data/store.js": '/*\nimport { b } from "../board/page.js";\n*/\nimport { h } from "../core/dom.js";',
            "views/layers/block.js": 'import { h } from "../../core/dom.js";\nimport "../../data/store.js";\n'
            '/** @typedef {import("../tokens/tokens.js").Word} Word */',
            "views/layers/layers.js": 'import { block } from "./block.js";\nexport const sorted = Array.from("ab");',
            "board/scope.js": 'import { layers } from "../views/layers/layers.js";\nnew URL("../x", import.meta.url);',
            "board/page.js": "const link = 'http://x';\nconst { mount } = await import(`./scope.js?v=${version}`);",
        },
    )
    assert wrong_directions(source) == circles(source) == homeless(source) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("core/dom.js", '/** @typedef {import("../data/store.js").Run} Run */'),
        ("views/layers/block.js", '/** @param {import("../../board/page.js").Page} page */'),
        ("core/dom.js", 'import { Run } from "../data/store.js";'),
        ("core/dom.js", 'import { tokens } from "../views/tokens/tokens.js";'),
        ("core/dom.js", 'import { connect } from "../board/page.js";'),
        ("data/store.js", 'import { tokens } from "../views/tokens/tokens.js";'),
        ("data/store.js", 'import { connect } from "../board/page.js";'),
        ("views/tokens/tokens.js", 'import { connect } from "../../board/page.js";'),
        ("views/tokens/tokens.js", 'import { layers } from "../layers/layers.js";'),
        ("views/tokens/tokens.js", 'import {\n  layers,\n  more,\n} from "../layers/layers.js";'),
        ("views/tokens/tokens.js", "import * as layers from '../layers/layers.js';"),
        ("views/tokens/tokens.js", 'import "../layers/layers.js";'),
        ("views/tokens/tokens.js", 'export { layers } from "../layers/layers.js";'),
        ("views/tokens/tokens.js", 'const late = () => import("../layers/layers.js");'),
        ("views/tokens/tokens.js", "const late = await import(`../layers/layers.js?v=${version}`);"),
        ("views/tokens/tokens.js", "const late = await import(address);"),
        ("board/page.js", 'import { gone } from "./gone.js";'),
        ("board/page.js", 'import { d3 } from "https://cdn.example/d3.js";'),
        ("board/page.js", 'import { d3 } from "d3";'),
        ("board/page.js", 'const a = "/*"; // no comment begins in a string\nimport { d3 } from "d3";'),
    ],
)
def test_an_import_that_points_up_aside_or_nowhere_is_found(tmp_path: Path, file: str, content: str):
    assert len(wrong_directions(tree(tmp_path, {file: content}))) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"core/a.js": 'import { b } from "./b.js";', "core/b.js": 'import { a } from "./a.js";'},
        {
            "views/tokens/a.js": 'import { b } from "./b.js";',
            "views/tokens/b.js": 'export { c } from "./c.js";',
            "views/tokens/c.js": 'const late = () => import("./a.js");',
        },
        {"core/a.js": 'import { a } from "./a.js";'},
    ],
)
def test_a_circle_is_found_through_functions_too(tmp_path: Path, files: dict[str, str]):
    assert len(circles(tree(tmp_path, files))) == 1


def test_an_import_of_a_type_alone_closes_no_circle(tmp_path: Path):
    types = '/** @typedef {import("./b.js").B} B */'
    assert circles(tree(tmp_path, {"core/a.js": types, "core/b.js": 'import { a } from "./a.js";'})) == []


@pytest.mark.parametrize("name", ["loose.js", "misc/loose.js", "views/loose.js", "core/inner/loose.js"])
def test_a_script_outside_the_rooms_is_found(tmp_path: Path, name: str):
    assert homeless(tree(tmp_path, {name: ""})) == [name]
