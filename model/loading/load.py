"""A name -> a hooked model: loaded in a precision, its parts found, its pictures proved by a self-check."""

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
)

from model.arch import anatomy
from model.arch.anatomy import Anatomy
from model.arch.placement import devices_in_words, home
from model.arch.placement import weights as placed_weights
from model.arch.tokens import Reader
from model.capture.captured import CapturedPasses
from model.capture.hooked import HookedModel, no_bar
from model.capture.same_model import fingerprint
from model.errors import BadSetting, BadWeights, NotShown, Refusal, UnknownModel, UnsafeModel
from model.limits import Limits
from model.loading import placing, selfcheck, threads
from model.loading.placing import Places
from model.records.trace import ModelCard
from model.texts import phrase
from model.weights import sources as weights
from model.weights.device_map import DeviceMap, read_device_map
from model.weights.gguf_scheme import scheme_of
from model.weights.precision import check_precision
from model.weights.sources import Progress, Source

_NO_LIMIT = 1_000_000_000  # context of a model whose configuration names none


def load(
    name: str | Path | Source | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    dtype: str | torch.dtype = "auto",
    device_map: DeviceMap | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
    settle_threads: bool = False,
) -> HookedModel:
    """Load a model to watch: the default, a folder or hub id by name, or a model and tokenizer already in memory.

    What `weights.find` has found is opened as it is. A model from memory is used as it is, switched to evaluation
    mode. The device is chosen: cuda, mps, then cpu. A model that is larger than one device is spread over several by
    `device_map`: "auto" fills the accelerators, then the CPU, then the disk, or a table names the model's parts with
    the device or "disk" of each. Weights on the disk are read from the model's own files at each pass.
    `dtype` is the precision of weights and sums: float32, bfloat16, float16, or auto, which is the checkpoint's own on
    an accelerator and float32 on the processor.
    `progress(what, done, total)` is told how far a download or conversion is. With `settle_threads`, torch is set to
    the number of threads that is fastest here, before anything else runs: for a program, not for a notebook.
    Raises: Refusal, if there is no such model, precision or device, if it would run code of its own, if its weights
    are not whole, or if they cannot be computed with in that precision here.
    """
    dtype = str(dtype).removeprefix("torch.")
    check_precision(dtype)
    places = None if device_map is None else read_device_map(device_map)
    if name is not None and (model is not None or tokenizer is not None):
        raise UnknownModel(
            "load() was given the name {name!r} and a model from memory; it takes one of the two.", name=str(name)
        )
    if model is not None or tokenizer is not None:
        return _from_memory(model, tokenizer, dtype, places)
    limits = limits or Limits.from_environment()
    source = name if isinstance(name, Source) else weights.find(None if name is None else str(name), limits, progress)
    if progress is not None:
        progress(phrase("opening {source}", source=source.name), 0, 0)
    source, (opened, tokenizer) = _undamaged(source, dtype, places, limits, progress)
    with _computable(source, opened):
        if settle_threads:
            threads.settle(opened)
        return _hook(opened, tokenizer, source)


def _from_memory(model: Any, tokenizer: Any, dtype: str, places: Places | None) -> HookedModel:
    if model is None or tokenizer is None:
        missing = "tokenizer" if tokenizer is None else "model"
        raise UnknownModel("load(model=..., tokenizer=...) needs both; the {missing} is missing.", missing=missing)
    if dtype not in ("auto", own := str(model.dtype).removeprefix("torch.")):
        raise BadSetting(
            "load() was given dtype={dtype!r} and a model from memory in {own}, which it uses as it is. Give it "
            "model.to(torch.{dtype}), or leave dtype out.",
            dtype=dtype,
            own=own,
        )
    if places is not None:
        raise BadSetting(
            "load() was given a device_map and a model from memory, which it uses where it is. Give it a model that "
            "was opened with that device_map, or name the model."
        )
    return _hook(model.eval(), tokenizer, None)


@contextmanager
def _computable(source: Source, model: Any) -> Iterator[None]:
    """Inside, what torch cannot compute in the model's precision is refused by name. Raises: NotShown."""
    try:
        yield
    except RuntimeError as error:
        if "not implemented for" not in str(error):
            raise
        raise NotShown(
            "torch cannot run {source} in {dtype} on {device}: {line} Load it with dtype float32.",
            source=source.name,
            dtype=str(model.dtype).removeprefix("torch."),
            device=devices_in_words(model),
            line=str(error).strip().splitlines()[0][:200],
        ) from error


def _undamaged(
    source: Source, dtype: str, places: Places | None, limits: Limits, progress: Progress | None
) -> tuple[Source, tuple[Any, Any]]:
    """The source and what was opened from it; its files are checked meanwhile, and made again if they are damaged."""
    with ThreadPoolExecutor(1, phrase("checking the weights")) as pool:
        checked = pool.submit(weights.damaged, source)
        try:
            opened = _open(source, dtype, places)
        except BadWeights:
            if not checked.result():
                raise
            opened = None
    if opened is None or checked.result():
        source = weights.made_again(source, checked.result(), limits, progress)
        opened = _open(source, dtype, places)
    return source, opened


def _open(source: Source, dtype: str, places: Places | None) -> tuple[Any, Any]:
    device = _device()
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    safely: dict[str, Any] = dict(local_files_only=True, trust_remote_code=False)
    unpacked: dict[str, Any] = {}
    if source.gguf is not None:
        safely["gguf_file"] = source.gguf
        unpacked["quantization_config"] = GgufConfig(dequantize=True)
    try:
        with no_bar():
            config = AutoConfig.from_pretrained(source.folder, **safely)
            _refuse_other_kinds(source, config)
            tokenizer = AutoTokenizer.from_pretrained(_tokenizer_folder(source), **safely)
            with placing.options(source, config, places) as placed:
                opened: Any = AutoModelForCausalLM.from_pretrained(
                    source.folder,
                    dtype=dtype,
                    use_safetensors=True,
                    output_loading_info=True,
                    **unpacked,
                    **safely,
                    **placed,
                )
            model, report = opened
            if source.adapter is not None:
                model = _merged(model, source.adapter)
    except Refusal:
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        _refuse_quantised(source, line, error)
        if "trust_remote_code" in str(error):
            raise UnsafeModel(
                "{source} can only be opened by Python code that comes with it. Such code is never run here. Choose "
                "a model whose architecture and tokenizer transformers has built in.",
                source=source.name,
            ) from error
        raise BadWeights(
            "{source} could not be opened as a causal language model: {line} "
            "Check that the folder holds the model's config, its tokenizer and all its weights.",
            source=source.name,
            line=line[:300],
        ) from error
    if lacking := sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]):
        _refuse_quantised(
            source, phrase("it holds other weights than a plain model, and lacks {first}.", first=lacking[0])
        )
        raise BadWeights(
            "{source} lacks weights that its config asks for, {n} in all, such as {first}: it "
            "would run on random numbers instead. Copy or download the model again.",
            source=source.name,
            n=len(lacking),
            first=lacking[0],
        )
    if places is None:
        model = model.to(device)
    else:
        placing.keep_folder(model, placed)
    return model.eval().requires_grad_(False), tokenizer


def _refuse_other_kinds(source: Source, config: Any) -> None:
    """Say what a model is that is not one that continues a text."""
    kind = config.model_type
    if config.is_encoder_decoder:
        what = phrase(
            "an encoder-decoder ({kind}): its encoder reads one text and its decoder writes another", kind=kind
        )
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    elif type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        what = phrase("a vision-language model ({kind}): it reads pictures beside text", kind=kind)
    else:
        what = phrase("a model of the kind {kind}, which transformers has not as a causal language model", kind=kind)
    raise NotShown(
        "{source} is {what}. What is shown here is a causal language model, which continues one text. Choose one of "
        "those, such as a GPT-2, a Llama or a Qwen.",
        source=source.name,
        what=what,
    )


def _refuse_quantised(source: Source, line: str, error: Exception | None = None) -> None:
    """Name the scheme, if it is the quantisation of a model that keeps it from being opened."""
    if source.gguf is not None:
        return
    config = json.loads((source.folder / "config.json").read_text("utf-8"))
    if not (told := config.get("quantization_config")):
        return
    raise BadWeights(
        "{source} is quantised ({scheme}) and could not be opened here: {line} Choose the model's checkpoint in "
        "float32, float16 or bfloat16.",
        source=source.name,
        scheme=told.get("quant_method", phrase("a scheme without a name")),
        line=line[:300],
    ) from error


def _hook(model: Any, tokenizer: Any, source: Source | None) -> HookedModel:
    found = anatomy.find(model)
    captured = captured_on(model, found)
    return HookedModel(
        model=model,
        tokenizer=tokenizer,
        anatomy=found,
        card=_card(model, found, source, captured),
        captured=captured,
        reader=Reader(tokenizer),
        _source=None if source is None or source.gguf or source.adapter else source.folder,
    )


def captured_on(model: Any, found: Anatomy) -> CapturedPasses | None:
    """What captures a model's decode passes on its device; None on one without such graphs."""
    return CapturedPasses(model, found) if home(model).type == "cuda" else None


def _card(model: Any, found: Anatomy, source: Source | None, captured: CapturedPasses | None) -> ModelCard:
    config = model.config.get_text_config()
    n_heads = _largest(config, "num_attention_heads")
    if n_heads == 0:
        raise NotShown(
            "{kind} ({family}) has no attention heads, and this program shows attention over a KV cache. Pick a "
            "transformer, such as the default.",
            kind=type(model).__name__,
            family=config.model_type,
        )
    parameters = [each for _, each in placed_weights(model)]
    return ModelCard(
        name=source.name if source else (Path(config.name_or_path).name or type(model).__name__),
        source=source.kind if source else "memory",
        note=_note(source, str(model.dtype).removeprefix("torch.")),
        family=config.model_type,
        n_layers=len(found.layers),
        n_heads=n_heads,
        n_kv_heads=_largest(config, "num_key_value_heads") or n_heads,
        d_model=config.hidden_size,
        d_head=_largest(config, "head_dim") or config.hidden_size // n_heads,
        d_mlp=max(anatomy.mlp_widths(config)),
        d_vocab=found.d_vocab,
        n_ctx=_largest(config, "max_position_embeddings") or _NO_LIMIT,
        n_parameters=sum(each.numel() for each in parameters),
        weights_bytes=sum(each.numel() * each.element_size() for each in parameters),
        dtype=str(model.dtype).removeprefix("torch."),
        device=devices_in_words(model),
        attention=str(config._attn_implementation),
        torch=torch.__version__,
        transformers=transformers.__version__,
        checks=selfcheck.check(model, found, captured),
        block=found.block,
        block_note=found.block_note,
        fingerprint=fingerprint(model),
        n_experts=found.n_experts,
    )


def _note(source: Source | None, dtype: str) -> str:
    """Where the weights come from, and what was done to them."""
    if source is None:
        return phrase("from memory")
    if source.gguf is None:
        return source.note
    scheme = scheme_of(source.folder / source.gguf)
    return phrase("dequantised from {scheme} to {dtype}, {note}", scheme=scheme, dtype=dtype, note=source.note)


def _merged(model: Any, adapter: Path) -> Any:
    """The model with an adapter's weights added to its own, so that it is a plain model again."""
    from peft import PeftModel  # it takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it is to drop
        return PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)


def _tokenizer_folder(source: Source) -> Path:
    """An adapter may bring a tokenizer of its own, with tokens that were added when it was trained."""
    if source.adapter is not None and (source.adapter / "tokenizer_config.json").is_file():
        return source.adapter
    return source.folder


def _largest(config: Any, name: str) -> int:
    """A size as the configuration has it, of its largest layer where they differ; 0 where it has none."""
    return max((each for each in anatomy.of_layers(config, name) if isinstance(each, int) and each > 0), default=0)


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
