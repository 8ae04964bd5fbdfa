"""The parts of a logit difference. The page's script draws them; here they are a table, for whoever runs no script."""

from model.records.attribution import Attribution
from model.texts import phrase
from viz.measured import table
from viz.theme import Mode
from viz.view import Html, Selection, view


@view("Why this token?", of=Attribution, follows="nothing")
def why_token(record: Attribution, _at: Selection, _mode: Mode = "light") -> Html:
    """How much each part pushed this token ahead of its rival, in logits.

    A logit is a token's score before the softmax: ahead by 1 is 2.7 times as likely. The final norm's scale is held at
    what it was in this pass, so that parts add up; what a part does by changing later parts counts as theirs. Source:
    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    rows = [(phrase("embedding"), _logits(record.embedding))]
    for layer, (heads, mlp, other) in enumerate(zip(record.heads, record.mlps, record.others, strict=True)):
        rows.append((phrase("layer {layer}, attention", layer=layer), _logits(heads.sum())))
        rows.append((phrase("layer {layer}, MLP", layer=layer), _logits(mlp)))
        if other:
            rows.append((phrase("layer {layer}, other", layer=layer), _logits(other)))
    rows += [
        (phrase("biases"), _logits(record.biases)),
        (phrase("remainder"), _logits(record.remainder - record.others.sum())),
        (phrase("sum"), _logits(record.total)),
    ]
    signs = phrase("logits: + towards {token!r}, \u2212 towards {rival!r}", token=record.token, rival=record.rival)
    return table((phrase("part"), signs), rows)


def _logits(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\u2212")
