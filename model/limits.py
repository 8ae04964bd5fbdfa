"""What a host allows, each bound settable by an environment variable named in the README."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_dir

from model.errors import BadSetting


def _cache_folder() -> Path:
    return Path(os.environ.get("TOKENOSCOPE_CACHE") or user_cache_dir("tokenoscope"))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The host's bounds on prompts, runs and disk. Checked on the server, whatever the browser allows."""

    prompt_tokens: int = 2048  # TOKENOSCOPE_PROMPT_TOKENS: longest prompt, in tokens
    new_tokens: int = 256  # TOKENOSCOPE_NEW_TOKENS: most tokens one run may generate
    store_bytes: int = 1_000_000_000  # TOKENOSCOPE_STORE_BYTES: records in memory; the oldest go to disk
    disk_bytes: int = 4_000_000_000  # TOKENOSCOPE_DISK_BYTES: records in a temporary folder; the oldest leave for good
    prompt_bytes: int = 32_000  # TOKENOSCOPE_PROMPT_BYTES: longest prompt text on the page, in UTF-8 bytes
    queue: int = 32  # TOKENOSCOPE_QUEUE: visitors that may wait for the model
    paused_seconds: int = 600  # TOKENOSCOPE_PAUSED_SECONDS: a run paused for longer than this ends
    paused_runs: int = 4  # TOKENOSCOPE_PAUSED_RUNS: each holds its cache; of more, the one paused longest ends
    requests: int = 12  # TOKENOSCOPE_REQUESTS: texts that one experiment may serve at once
    cache_tokens: int = 4096  # TOKENOSCOPE_CACHE_TOKENS: what the paged cache of such an experiment may hold
    cache: Path = field(default_factory=_cache_folder)  # TOKENOSCOPE_CACHE: where converted models are kept
    models: tuple[str, ...] = ()  # TOKENOSCOPE_MODELS: hub ids and folders that visitors of the page may load

    @classmethod
    def from_environment(cls) -> "Limits":
        """The bounds of this process, read from the environment, with the defaults above.

        Raises: BadSetting, if a variable does not hold a whole number of at least 1.
        """
        return cls(
            prompt_tokens=_whole("TOKENOSCOPE_PROMPT_TOKENS", cls.prompt_tokens),
            new_tokens=_whole("TOKENOSCOPE_NEW_TOKENS", cls.new_tokens),
            store_bytes=_whole("TOKENOSCOPE_STORE_BYTES", cls.store_bytes),
            disk_bytes=_whole("TOKENOSCOPE_DISK_BYTES", cls.disk_bytes),
            prompt_bytes=_whole("TOKENOSCOPE_PROMPT_BYTES", cls.prompt_bytes),
            queue=_whole("TOKENOSCOPE_QUEUE", cls.queue),
            paused_seconds=_whole("TOKENOSCOPE_PAUSED_SECONDS", cls.paused_seconds),
            paused_runs=_whole("TOKENOSCOPE_PAUSED_RUNS", cls.paused_runs),
            requests=_whole("TOKENOSCOPE_REQUESTS", cls.requests),
            cache_tokens=_whole("TOKENOSCOPE_CACHE_TOKENS", cls.cache_tokens),
            models=tuple(name.strip() for name in os.environ.get("TOKENOSCOPE_MODELS", "").split(",") if name.strip()),
        )


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 1 or number != int(number):
        raise BadSetting(
            "{variable} is {text!r}; it must be a whole number of at least 1. Unset it to use {default}.",
            variable=variable,
            text=text,
            default=default,
        )
    return int(number)
