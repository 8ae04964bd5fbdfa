"""What a model's own generation config asks for: a run does it as `generate()` does, or refuses it by name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import CompileConfig, GenerationConfig, PreTrainedTokenizerFast

from model import HookedModel, Limits, Settings, Trace, fork, load, measure
from model.capture.generation import Generation
from model.capture.generation_config import generate_options
from model.errors import NotShown
from tests.tiny import N_WORDS, tiny_model, tiny_tokenizer

PROMPT = [5, 37, 40, 8, 120, 5, 37]
NEW = 6
GREEDY = Settings(max_new_tokens=NEW)
SAMPLED = Settings(max_new_tokens=NEW, temperature=0.9, top_k=20, top_p=0.95, repetition_penalty=1.1, seed=4)
WATERMARK = {"greenlist_ratio": 0.4, "bias": 3.0}

ASKED: dict[str, Any] = {  # a value for every field of the file, each unlike its default
    "max_length": 9,
    "max_new_tokens": 3,
    "min_length": 12,
    "min_new_tokens": 4,
    "early_stopping": True,
    "max_time": 1e-9,
    "stop_strings": ["w7", "w40w"],
    "do_sample": True,
    "num_beams": 4,
    "use_mtp": True,
    "use_cache": True,
    "cache_implementation": "static",
    "cache_config": {"backend": "hqq"},
    "max_cache_len": 64,
    "temperature": 0.6,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.2,
    "top_h": 0.4,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.02,
    "eta_cutoff": 0.02,
    "repetition_penalty": 1.7,
    "encoder_repetition_penalty": 1.7,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[5], [37, 40]],
    "renormalize_logits": True,
    "forced_bos_token_id": 9,
    "forced_eos_token_id": 9,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": (2, 1.5),
    "suppress_tokens": list(range(50, 199)),
    "begin_suppress_tokens": list(range(50, 199)),
    "sequence_bias": [[[5], 9.0], [[37, 40], 9.0]],
    "token_healing": True,
    "guidance_scale": 1.5,
    "watermarking_config": WATERMARK,
    "num_return_sequences": 2,
    "output_attentions": True,
    "output_hidden_states": True,
    "output_scores": True,
    "output_logits": True,
    "return_dict_in_generate": True,
    "pad_token_id": 5,
    "bos_token_id": 7,
    "eos_token_id": list(range(60, 120)),
    "encoder_no_repeat_ngram_size": 2,
    "decoder_start_token_id": 7,
    "is_assistant": True,
    "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "heuristic",
    "assistant_confidence_threshold": 0.9,
    "prompt_lookup_num_tokens": 3,
    "max_matching_ngram_size": 3,
    "assistant_early_exit": 1,
    "assistant_lookbehind": 3,
    "target_lookbehind": 3,
    "assistant_ensemble_weight": 0.5,
    "speculation_type": "mtp",
    "compile_config": CompileConfig(mode="default"),
    "disable_compile": True,
    "continuous_batching_config": None,
    "low_memory": True,
    "penalty_alpha": 0.6,
    "dola_layers": "high",
    "diversity_penalty": 0.5,
    "num_beam_groups": 2,
    "constraints": [[5]],
    "force_words_ids": [[5]],
    "prefill_chunk_size": 3,
    "a_key_that_nobody_knows": 1,
}
REFUSED = {
    "max_time", "use_mtp", "cache_implementation", "token_healing", "num_return_sequences",
    "is_assistant", "prompt_lookup_num_tokens", "assistant_early_exit", "penalty_alpha", "dola_layers", "constraints",
    "force_words_ids", "prefill_chunk_size",
}  # fmt: skip


@pytest.fixture(scope="module")
def own() -> HookedModel:
    """A model whose generation config the tests of this file change, and put back."""
    words = Tokenizer(WordLevel({f"w{place}": place for place in range(N_WORDS - 1)} | {"abcdef": N_WORDS - 1}))
    words.decoder = decoders.Fuse()  # the library seeks strings in what this makes of "abcdef" and each word
    spelling = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w1", pad_token="w2")
    return load(model=tiny_model("llama"), tokenizer=spelling)


@pytest.fixture
def hooked(own: HookedModel) -> Iterator[HookedModel]:
    kept = own.model.generation_config
    yield own
    own.model.generation_config = kept


def asking(hooked: HookedModel, **asked: Any) -> HookedModel:
    """The model, once its generation config asks for this, as a file of these keys would."""
    plain = hooked.model.generation_config.to_dict()
    if "num_return_sequences" in asked:
        asked["do_sample"] = True  # the library reads no file that asks for it otherwise
    hooked.model.generation_config = GenerationConfig.from_dict(plain | asked)
    return hooked


def traced(hooked: HookedModel, settings: Settings) -> Trace:
    run = Generation(hooked, PROMPT, settings, Limits())
    for _ in run:
        pass
    return run.trace()


def stock(hooked: HookedModel, settings: Settings) -> tuple[list[int], torch.Tensor]:
    """What the library's own `generate` writes, and its logits."""
    torch.manual_seed(settings.seed)
    out = hooked.model.generate(
        torch.tensor([PROMPT]),
        tokenizer=hooked.tokenizer,
        return_dict_in_generate=True,
        output_logits=True,
        **generate_options(settings),
    )
    return out.sequences[0, len(PROMPT) :].tolist(), torch.cat(out.logits)


def test_every_field_of_the_library_s_config_is_gone_through() -> None:
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert ASKED.keys() - {"a_key_that_nobody_knows"} == fields - {"transformers_version"}


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ASKED)
def test_what_the_config_asks_for_is_done_as_in_generate_or_refused_by_name(
    hooked: HookedModel, name: str, settings: Settings
) -> None:
    asking(hooked, **{name: ASKED[name]})
    if name in REFUSED:
        with pytest.raises(NotShown, match=f"sets {name} = "):
            traced(hooked, settings)
        return
    run = traced(hooked, settings)
    ids, logits = stock(hooked, settings)
    assert [token.id for token in run.tokens[len(PROMPT) :]] == ids
    assert torch.equal(torch.tensor(run.logits), logits)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_model_that_asks_for_what_is_not_recorded_is_refused_when_it_is_loaded_or_measured(
    hooked: HookedModel, name: str
) -> None:
    asking(hooked, **{name: ASKED[name]})
    said = re.escape(f"sets {name} = {ASKED[name]!r} in its generation config")
    with pytest.raises(NotShown, match=said):
        load(model=hooked.model, tokenizer=hooked.tokenizer)
    with pytest.raises(NotShown, match=said):
        measure(hooked, PROMPT, GREEDY, Limits())


def test_strings_that_end_a_text_end_a_run_a_fork_of_it_and_a_measurement(hooked: HookedModel, tmp_path: Path) -> None:
    plain = traced(hooked, GREEDY)
    words = [token.text for token in plain.tokens[len(PROMPT) :]]
    asking(hooked, stop_strings=[words[2]])
    again = load(model=hooked.model, tokenizer=hooked.tokenizer)
    assert all(check.passed for check in again.card.checks)
    run = traced(again, GREEDY)
    assert [token.text for token in run.tokens[len(PROMPT) :]] == words[:3]
    assert run.ended == "criterion"  # neither an end of sequence nor the length
    forked = fork(again, plain, step=1, token_id=plain.choices[1].id)
    assert [token.id for token in forked.tokens] == [token.id for token in run.tokens]
    *_, measured = measure(again, PROMPT, GREEDY, Limits(cache=tmp_path), repeats=1, parts=["phases"])
    assert measured.text == run.text


def test_a_tokenizer_in_which_strings_cannot_be_sought_is_refused(hooked: HookedModel) -> None:
    asking(hooked, stop_strings=["w7"])
    without_decoder = load(model=hooked.model, tokenizer=tiny_tokenizer())
    with pytest.raises(NotShown, match=r"sets stop_strings = \['w7'\] .* cannot seek them with this tokenizer"):
        traced(without_decoder, GREEDY)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, None),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95}, Settings(temperature=0.6, top_p=0.95)),
        ({"do_sample": True, "top_k": 20, "min_p": 0.1}, Settings(temperature=1.0, top_k=20, min_p=0.1)),
        ({"do_sample": True}, Settings(temperature=1.0)),
        ({"temperature": 0.6}, None),
        ({"repetition_penalty": 1.1}, Settings(repetition_penalty=1.1)),
        ({"do_sample": True, "temperature": -1.0}, None),
    ],
)
def test_what_the_config_recommends_is_carried_on_the_model(
    hooked: HookedModel, asked: dict[str, Any], wanted: Settings | None
) -> None:
    assert asking(hooked, **asked).recommended == wanted
