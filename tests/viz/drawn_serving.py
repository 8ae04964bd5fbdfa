"""What the tests of served texts' pictures share: a record, and what is drawn of it."""

# pyright: reportPrivateUsage=false

import re
from typing import Any

from model.records.batching import Batching
from tests.fakes_serving import PROMPTS, fake_batching
from viz import theme
from viz.view import Selection
from viz.views import all_views

VIEWS = {each.name: each for each in all_views(Batching)}
STORY = fake_batching()
TEXTS = range(len(PROMPTS))


def drawn(name: str, record: Batching = STORY, mode: theme.Mode = "light", **at: int) -> Any:
    return VIEWS[name].draw(record, Selection(**at), mode)  # pyright: ignore[reportArgumentType]


def cells(html: str, kind: str) -> list[str]:
    """What stands in the elements of one name, without the markup in them."""
    return [re.sub("<[^>]*>", " ", each).strip() for each in re.findall(rf"<{kind}\b[^>]*>(.*?)</{kind}>", html)]
