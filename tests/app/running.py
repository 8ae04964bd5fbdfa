"""What tests of runs over HTTP share: waiting until something holds, and the kinds of frames in a stream."""

import time

from tests.patience import PATIENCE_S
from viz.wire import packing


def wait_for(holds) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def kinds(body: bytes) -> list[str]:
    return [str(packing.unpack(frame)[0]["kind"]) for frame in packing.split(body)]
