"""What a model's own generation config asks for: what is done, what is refused by name, what it recommends."""

from collections.abc import Collection, Mapping
from typing import Any

from transformers import StoppingCriteriaList, StopStringCriteria

from model.errors import BadSetting, NotShown
from model.records.settings import Settings

_OFF: dict[str, tuple[Any, ...]] = {  # what makes `generate` search, forbid or stop in ways of its own; None is off
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "constraints": (),
    "force_words_ids": (),
    "use_mtp": (False,),
    "is_assistant": (False,),
    "guidance_scale": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "bad_words_ids": (),
    "sequence_bias": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "watermarking_config": (),
    "token_healing": (False,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_time": (),
    "stop_strings": (),
    "use_cache": (True,),
    "cache_implementation": ("dynamic", "dynamic_full", "hybrid"),
    "prefill_chunk_size": (),
    "prompt_lookup_num_tokens": (0,),
    "assistant_early_exit": (),
    "assistant_ensemble_weight": (),
    "return_dict_in_generate": (False,),
}
_CHOOSING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # settings that a config may recommend
_NOT_ONE_PASS_A_TOKEN = (  # several texts or passes at a time, another cache, another prompt, or an end by the clock
    "num_return_sequences",
    "penalty_alpha",
    "dola_layers",
    "constraints",
    "force_words_ids",
    "use_mtp",
    "is_assistant",
    "token_healing",
    "max_time",
    "cache_implementation",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "assistant_early_exit",
)


def generate_options(settings: Settings) -> dict[str, Any]:
    """The settings as the library's `generate` takes them, all but the seed."""
    how: dict[str, Any] = dict(
        max_new_tokens=settings.max_new_tokens,
        repetition_penalty=float(settings.repetition_penalty),
        use_cache=True,  # said even where it is the default: training leaves folders behind that switch it off
        num_beams=1,  # said even where it is the default: a run is one text, and a search has an experiment of its own
    )
    if settings.greedy:
        return how | dict(do_sample=False)
    return how | dict(
        do_sample=True,
        temperature=float(settings.temperature),
        top_k=settings.top_k,  # said even when off: the library would slip in a top-k of 50
        top_p=float(settings.top_p),
        min_p=settings.min_p or None,
    )


def stop_options(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The model's own stop strings, as `generate` takes them; it needs the tokenizer, and without one heeds none.

    The library drops the tokenizer that it is given together with a `custom_generate`.
    Raises: NotShown, if the library cannot seek strings with this tokenizer.
    """
    strings = model.generation_config.stop_strings
    if not strings:
        return {}
    ends = [] if tokenizer is None else [_string_ends(tokenizer, strings)]
    return {"stop_strings": None, "stopping_criteria": StoppingCriteriaList(ends)}


def _string_ends(tokenizer: Any, strings: list[str]) -> StopStringCriteria:
    try:
        return StopStringCriteria(tokenizer, strings)
    except Exception as error:
        raise NotShown(
            "the model sets stop_strings = {given!r} in its generation config, and transformers cannot seek them with "
            "this tokenizer ({error}). Take them out of its generation_config.json, or pick another model.",
            given=strings,
            error=error,
        ) from error


def check_one_pass_a_token(model: Any) -> None:
    """Check that a model's generation config lets each pass write one token, which is what can be recorded.

    Raises: NotShown, naming what it asks for.
    """
    for setting, given in _asked_for(model, _NOT_ONE_PASS_A_TOKEN):
        raise NotShown(
            "the model sets {setting} = {given!r} in its generation config; what that does is not recorded here, where "
            "each pass writes one token of one text. Take it out of its generation_config.json, or pick another model.",
            setting=setting,
            given=given,
        )


def check_beams(model: Any) -> None:
    """Check that a model's generation config asks for nothing that beam search by transformers does not do.

    Raises: NotShown, naming what it asks for.
    """
    for setting, given in _asked_for(model, set(_NOT_ONE_PASS_A_TOKEN) - {"num_return_sequences"}):
        raise NotShown(
            "the model sets {setting} = {given!r} in its generation config, which a plain beam search has no "
            "place for. Take it out of its generation_config.json, or pick another model.",
            setting=setting,
            given=given,
        )


def check_plain(model: Any, name: str) -> None:
    """Check that a model's generation config asks for nothing beyond plain decoding.

    Raises: NotShown, if it does: batching and speculation would ignore it, or fail.
    """
    for setting, given in _asked_for(model, _OFF):
        raise NotShown(
            "{name} sets {setting} = {given!r} in its generation config; batching and speculation do not support "
            "it. Take it out of its generation_config.json, or pick another model.",
            name=name,
            setting=setting,
            given=given,
        )


def recommended(model: Any) -> Settings | None:
    """How the model's generation config would have tokens chosen; None where it says nothing, or nothing possible."""
    given = model.generation_config
    sampling = given.do_sample is True
    found = {"repetition_penalty": given.repetition_penalty}
    if sampling:
        found |= {name: getattr(given, name) for name in ("temperature", "top_k", "top_p", "min_p")}
        found["temperature"] = 1.0 if given.temperature is None else given.temperature
    said = {name: value for name, value in found.items() if value is not None}
    try:
        return Settings(**said) if said else None
    except BadSetting:
        return None


def recommended_values(model: Any) -> Mapping[str, float]:
    """The same by name, without what changes nothing; none where the config says nothing."""
    wanted, neutral = recommended(model), Settings()
    names = _CHOOSING if wanted else ()
    return {name: getattr(wanted, name) for name in names if getattr(wanted, name) != getattr(neutral, name)}


def _asked_for(model: Any, settings: Collection[str]) -> list[tuple[str, Any]]:
    found = [(setting, getattr(model.generation_config, setting, None)) for setting in settings]
    return [(setting, given) for setting, given in found if given is not None and given not in _OFF[setting]]
