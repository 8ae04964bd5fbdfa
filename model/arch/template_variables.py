"""The variables of a chat template that only a person can set, read off the template itself."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from transformers import PreTrainedTokenizerBase

from model.records.chat import TemplateVariable

_LIBRARY_FILLS = frozenset(  # its own arguments, its functions, and the special tokens
    (
        "messages",
        "raise_exception",
        "strftime_now",
        "additional_special_tokens",
        *PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES,
        *inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters,
    )
)
_PRESENCE = ("defined", "undefined", "none")  # tests that say nothing of the kind of the value
_TRUTH = ("true", "false", "boolean")

_Use = tuple[str, str | bool | None]
"""A variable, and what one place takes it for: True as a yes or no, a text that it is compared with, "" as anything
else, None where it is only asked whether it is there."""


class _Generation(Extension):
    """The library's own block around what the model says, which means nothing here."""

    tags = {"generation"}  # noqa: RUF012 - as the library of templates declares it

    def parse(self, parser: Any) -> nodes.Node:
        """The block as a scope with its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def variables_of(tokenizer: Any) -> tuple[TemplateVariable, ...]:
    """The variables that a person can set in a tokenizer's chat template, by name; none where it has no template."""
    if not getattr(tokenizer, "chat_template", None):
        return ()
    try:
        return template_variables(tokenizer.get_chat_template())
    except ValueError:  # several templates, and none of them is the default
        return ()


@lru_cache(maxsize=16)
def template_variables(template: str) -> tuple[TemplateVariable, ...]:
    """The variables of a template, by name, without what the library fills in.

    A template that cannot be parsed has none: rendering it says why.
    """
    environment = Environment(extensions=[_Generation, loopcontrols])  # noqa: S701 - nothing is rendered
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError:
        return ()
    uses = list(_uses(tree, ""))  # before the names are sought: that folds the tree's constants
    names = meta.find_undeclared_variables(tree) - _LIBRARY_FILLS
    return tuple(_variable(name, [taken for of, taken in uses if of == name]) for name in sorted(names))


def _variable(name: str, taken: list[str | bool | None]) -> TemplateVariable:
    values = tuple(dict.fromkeys(each for each in taken if isinstance(each, str) and each))
    is_switch = all(each is True or each is None for each in taken)
    return TemplateVariable(name=name, kind="switch" if is_switch else "text", values=values)


def _uses(node: nodes.Node, role: str | bool) -> Iterator[_Use]:
    """Every place below a node that reads a variable; `role` is what this place takes its value for."""
    if (rule := _RULES.get(type(node))) is not None:
        yield from rule(node, role)
        return
    for each in node.iter_child_nodes():
        yield from _uses(each, "")


def _named(node: Any, role: str | bool) -> Iterator[_Use]:
    if node.ctx == "load":
        yield node.name, role


def _set(node: Any, _role: str | bool) -> Iterator[_Use]:
    """A text that is put in place is what the variable is where nobody says anything."""
    if isinstance(node.target, nodes.Name):
        yield from ((node.target.name, text) for text in _texts(node.node))
    yield from _uses(node.node, "")


def _branched(node: Any, _role: str | bool) -> Iterator[_Use]:
    yield from _uses(node.test, True)
    for each in node.iter_child_nodes(exclude=("test",)):
        yield from _uses(each, "")


def _either(node: Any, role: str | bool) -> Iterator[_Use]:
    """`a if b else c`: where one of the two is true or false, so is the other."""
    yield from _uses(node.test, True)
    branches = [each for each in (node.expr1, node.expr2) if each is not None]
    for each in branches:
        yield from _uses(each, True if any(map(_is_truth, branches)) else role)


def _joined(node: Any, role: str | bool) -> Iterator[_Use]:
    yield from _uses(node.left, role)
    yield from _uses(node.right, role)


def _tested(node: Any, _role: str | bool) -> Iterator[_Use]:
    if isinstance(node.node, nodes.Name) and node.name in _PRESENCE:
        yield node.node.name, None
    else:
        yield from _uses(node.node, True if node.name in _TRUTH or any(map(_is_truth, node.args)) else "")


def _filtered(node: Any, role: str | bool) -> Iterator[_Use]:
    if node.name in ("default", "d") and node.node is not None and node.args:
        yield from _uses(node.node, True if _is_truth(node.args[0]) else role)
        return
    for each in node.iter_child_nodes():
        yield from _uses(each, "")


def _compared(node: Any, _role: str | bool) -> Iterator[_Use]:
    """What a comparison takes the variables in it for: what stands on the other side says it."""
    sides = [node.expr, *(each.expr for each in node.ops)]
    texts = [text for side in sides for text in _texts(side)]
    for side in sides:
        if isinstance(side, nodes.Name) and texts:
            yield from ((side.name, text) for text in texts)
        else:
            yield from _uses(side, True if any(map(_is_truth, sides)) else "")


def _texts(node: nodes.Node) -> list[str]:
    """The texts that stand in a constant, or in a list of them."""
    items = node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]
    return [each.value for each in items if isinstance(each, nodes.Const) and isinstance(each.value, str)]


def _is_truth(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, bool)


_RULES: Mapping[type[nodes.Node], Callable[[Any, str | bool], Iterator[_Use]]] = {
    nodes.Name: _named,
    nodes.Assign: _set,
    nodes.If: _branched,
    nodes.CondExpr: _either,
    nodes.Not: lambda node, _: _uses(node.node, True),
    nodes.And: _joined,
    nodes.Or: _joined,
    nodes.Compare: _compared,
    nodes.Test: _tested,
    nodes.Filter: _filtered,
}
