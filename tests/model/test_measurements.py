"""Records of what was measured: a file that contradicts itself is refused, and draws nothing."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import BadTrace
from tests.fakes_measured import fake_measurement, fake_trials


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_machine_has_speeds(speed: float):
    whole = fake_measurement()
    for name in ("bandwidth", "matrix_speed"):
        with pytest.raises(BadTrace, match="the machine reads"):
            replace(whole, machine=replace(whole.machine, **{name: speed}))


@pytest.mark.parametrize("name", ["ttft", "itl", "race_on", "race_off", "batch_seconds"])
@pytest.mark.parametrize("time", [0.0, -1e-3, np.nan, np.inf])
def test_every_time_is_one_that_a_pass_can_take(name: str, time: float):
    whole = fake_measurement()
    times = getattr(whole, name).copy()
    times.flat[-1] = time
    with pytest.raises(BadTrace, match=name):
        replace(whole, **{name: times})


def test_rows_have_tries_and_entries():
    whole = fake_measurement()
    with pytest.raises(BadTrace, match="a row without a measurement"):
        replace(whole, race_on=whole.race_on[:, :0])
    with pytest.raises(BadTrace, match="race_tokens"):
        replace(whole, race_tokens=whole.race_tokens[:-1])


def test_trials_name_tokens_that_were_written_and_that_have_a_text():
    whole = fake_trials()
    last = replace(whole.trials[-1], first_changed=whole.kl.shape[1])
    with pytest.raises(BadTrace, match="first"):
        replace(whole, trials=(*whole.trials[:-1], last))
    chosen = whole.chosen.copy()
    chosen[-1, -1] = 48_000
    with pytest.raises(BadTrace, match="token 48000"):
        replace(whole, chosen=chosen)
