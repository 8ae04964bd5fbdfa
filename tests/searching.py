"""How far hypothesis searches: the same few examples every time in `make test`, many new ones in `make test-long`."""

from hypothesis import HealthCheck, settings

QUICK, LONG = "quick", "long"  # `pytest --hypothesis-profile=long` chooses the other one
_ALWAYS = settings(
    deadline=None,  # a machine that is busy is no fault of the code
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile(QUICK, _ALWAYS, derandomize=True)
settings.register_profile(LONG, _ALWAYS, print_blob=True)
settings.load_profile(QUICK)


def searched(*, quick: int, long: int) -> settings:
    """So many examples; in `make test-long` they are random, and a failure prints how to repeat it."""
    return settings(max_examples=long if settings.get_current_profile_name() == LONG else quick)
