"""Timing a model on a prompt, without recording it."""

from dataclasses import dataclass

from model.records.fields import same_as, setting
from model.requests.run import Run


@dataclass(frozen=True, kw_only=True)
class Measure(Run):
    """Time prefill and decode, with and without the KV cache, alone and in batches."""

    n_prompt: int | None = setting(
        None,
        kind="whole",
        label="Prompt length",
        unit="tokens",
        low=1,
        high=lambda limits, _: limits.prompt_tokens,
        variable="TOKENOSCOPE_PROMPT_TOKENS",
        slider=(0, 512),
        flag="prompt-tokens",
        metavar="N",
        help="The prompt is cut or repeated to this many tokens. Default: as it is.",
    )
    max_new_tokens: int = same_as(Run, "max_new_tokens", help="How many tokens each timed run generates.")
