"""Beam search by the transformers library itself, overheard: what each pass ranked, what went on, what was left.

The library's loop stays as it is. While it runs, three of its own methods are followed on the model; this file is the
only one that knows their names, and a contract test compares the outcome with `generate`, bit for bit.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from model.api.job import records_of
from model.api.pieces import in_pieces
from model.arch.tokens import Prompt
from model.capture.generation_config import check_beams, generate_options, stop_options
from model.capture.hooked import HookedModel
from model.capture.prompts import check_lengths, read_prompt
from model.limits import Limits
from model.records.beams import Answer, BeamSearch
from model.records.trace import Settings
from model.requests.beams import SearchBeams

_IMPOSSIBLE = -1e8  # the library scores what cannot be with -1e9
_RANKING, _KEEPING = "_get_top_k_continuations", "_get_running_beams_for_next_iteration"
_FINISHING = "_update_finished_beams"
_OVER = object()


def search_beams(
    hooked: HookedModel,
    prompt: str,
    *,
    n_beams: int = 4,
    length_penalty: float = 1.0,
    **settings: Any,
) -> BeamSearch:
    """Continue a text by several at a time, and keep the likeliest whole texts: `generate(num_beams=...)`, recorded.

    `settings` are `chat`, `system`, `turns`, `template_options`, `max_new_tokens` and `repetition_penalty` of
    `records.Settings`; early stopping is what the model's generation config says. Scores are natural logarithms.
    Raises: Refusal.
    Source: Graves 2012, "Sequence Transduction with Recurrent Neural Networks" (the decoding search, section 3).
    """
    asked = Settings.read(**settings)
    search = begin(hooked, prompt, asked, Limits.from_environment(), n_beams=n_beams, length_penalty=length_penalty)
    *_, last = records_of(search)
    return last


def begin(
    hooked: HookedModel,
    prompt: str,
    settings: Settings,
    limits: Limits,
    *,
    n_beams: int,
    length_penalty: float,
) -> Generator[BeamSearch]:
    """The search, checked; each value is what was ranked so far. Raises: Refusal, at once."""
    check_beams(hooked.model)
    SearchBeams.check_values(limits, hooked.card, n_beams=n_beams, length_penalty=length_penalty)
    read = read_prompt(hooked, prompt, settings)
    check_lengths(hooked, len(read.ids), settings, limits)
    early_stopping = hooked.model.generation_config.early_stopping
    search = _Search(hooked, read, settings, n_beams, float(length_penalty), early_stopping)
    return search.records()


@dataclass(slots=True)
class _Search:
    hooked: HookedModel
    prompt: Prompt
    settings: Settings
    n_beams: int
    length_penalty: float
    early_stopping: bool | str | None
    ranked: list[dict[str, np.ndarray]] = field(default_factory=list)  # of each pass, by the names of the record
    finished: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)  # whole text: pass and rank
    answers: tuple[Answer, ...] = ()

    def records(self) -> Generator[BeamSearch]:
        """The search so far after every pass, and at last with its answers."""
        running = in_pieces(self._generate)
        try:
            while self._goes_on(running):
                yield self._record(())
        finally:
            running.close()
        yield self._record(self.answers)

    def _goes_on(self, running: Generator[None]) -> bool:
        """Run one pass. Returns whether the search went on."""
        with self.hooked.guard:
            return next(running, _OVER) is not _OVER

    def _generate(self, pause: Callable[[], None]) -> None:
        model = self.hooked.model
        ids = torch.tensor([list(self.prompt.ids)], device=model.device)

        def finished(result: Any, given: Mapping[str, Any]) -> None:
            self._finished(result, given)
            pause()

        with _followed(model, {_RANKING: self._ranked, _KEEPING: self._kept, _FINISHING: finished}):
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                **stop_options(model, self.hooked.tokenizer),
                **generate_options(self.settings) | self._beams(),
            )

    def _beams(self) -> dict[str, Any]:
        return dict(num_beams=self.n_beams, num_return_sequences=1, length_penalty=self.length_penalty)

    def _ranked(self, result: Any, _: Mapping[str, Any]) -> None:
        """What the pass ranks, the likeliest first."""
        scores, texts, places = (each[0].cpu().numpy() for each in result)
        at = len(self.prompt.ids) + len(self.ranked)
        possible = scores > _IMPOSSIBLE
        self.ranked.append(
            {
                "parents": np.where(possible, places[:, len(self.ranked)], 0).astype(np.int32),
                "ids": np.where(possible, texts[:, at], -1).astype(np.int32),
                "scores": np.where(possible, scores, 0).astype(np.float32),
                "beams": np.full(len(scores), -1, dtype=np.int32),
            }
        )

    def _kept(self, result: Any, given: Mapping[str, Any]) -> None:
        """Which of them go on, and as which beam. One that has met an end only fills a place that nothing else took."""
        texts = [tuple(row) for row in given["topk_running_sequences"][0].tolist()]
        over = given["next_token_hits_stopping_criteria"][0].tolist()
        for beam, row in enumerate(result[0][0].tolist()):
            rank = texts.index(tuple(row))
            if not over[rank]:
                self.ranked[-1]["beams"][rank] = beam

    def _finished(self, result: Any, given: Mapping[str, Any]) -> None:
        """Which whole texts are the best so far."""
        texts = given["topk_running_sequences"][0].tolist()
        over = given["next_token_hits_stopping_criteria"][0].tolist()
        for rank, row in enumerate(texts):
            if over[rank]:
                self.finished.setdefault(tuple(row), (len(self.ranked) - 1, rank))
        rows, scores, _, whole = (each[0].tolist() for each in result)
        best = zip(rows, scores, whole, strict=True)
        self.answers = tuple(self._answer(row, score) for row, score, is_whole in best if is_whole)

    def _answer(self, row: list[int], score: float) -> Answer:
        step, rank = self.finished[tuple(row)]
        ends = self.hooked.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        by_itself = step + 1 < self.settings.max_new_tokens or int(self.ranked[step]["ids"][rank]) in ends
        n_prompt = len(self.prompt.ids)
        text = self.hooked.reader.written(self.prompt.ids, row[n_prompt : n_prompt + step + 1])
        return Answer(step=step, rank=rank, score=score, ended=by_itself, text=text)

    def _record(self, answers: tuple[Answer, ...]) -> BeamSearch:
        reader = self.hooked.reader
        arrays = {name: np.stack([each[name] for each in self.ranked]) for name in self.ranked[0]}
        ids = {each for each in arrays["ids"].ravel().tolist() if each >= 0}
        return BeamSearch(
            model=self.hooked.card,
            prompt=self.prompt.text,
            notes=self.prompt.notes,
            chat=self.settings.chat,
            max_new_tokens=self.settings.max_new_tokens,
            n_beams=self.n_beams,
            length_penalty=self.length_penalty,
            early_stopping=str(self.early_stopping or False).lower(),
            tokens=reader.tokens(self.prompt.ids),
            texts=reader.texts(ids),
            answers=answers,
            **arrays,
        )


@contextmanager
def _followed(model: Any, after: Mapping[str, Callable[[Any, Mapping[str, Any]], None]]) -> Iterator[None]:
    """Inside, each of these methods of the model tells what it returned, and what it was given by name."""

    def follow(name: str) -> Callable[..., Any]:
        original = getattr(model, name)

        def followed(**given: Any) -> Any:
            result = original(**given)
            after[name](result, given)
            return result

        return followed

    try:
        for name in after:
            setattr(model, name, follow(name))
        yield
    finally:
        for name in after:
            vars(model).pop(name, None)
