"""Where in a model an edit is made: in what heads, MLPs and layers give, in the residual stream, or why nowhere."""

from model.capture.edits import Site
from model.capture.hooked import HookedModel
from model.errors import BadSetting, NotShown
from model.records.edits import Edit
from model.records.fields import shown
from model.texts import phrase


def sites_of(hooked: HookedModel, edit: Edit) -> tuple[Site, ...]:
    """The places of an edit; none of an edge, which is cut in the attention itself.

    Raises: BadSetting, for a layer or a head that the model does not have; NotShown, where it was not found.
    """
    if edit.what == "edge":
        _check_edge(hooked, edit)
        return ()
    assert edit.layer is not None
    if edit.what == "stream":
        return (stream_site(hooked, edit.layer),)
    if edit.what == "head":
        assert edit.head is not None
        return (head_site(hooked, edit.layer, edit.head),)
    return (mlp_site(hooked, edit.layer),) if edit.what == "mlp" else _layer_sites(hooked, edit.layer)


def head_site(hooked: HookedModel, layer: int, head: int) -> Site:
    """What one head gives, in what the output projection is given. Raises: BadSetting, NotShown."""
    _check_layer(hooked, layer)
    found = hooked.anatomy.head_outputs[layer]
    if found is None:
        raise _not_found(
            hooked,
            phrase(
                "in layer {layer} no matrix was found that reads what its heads give as it stands, or it has no heads",
                layer=layer,
            ),
        )
    _check_head(layer, head, found.n_heads)
    return Site(layer=layer, module=found.projection, side="input", columns=found.columns(head))


def mlp_site(hooked: HookedModel, layer: int) -> Site:
    """What a layer's MLP adds to the residual stream. Raises: BadSetting, NotShown."""
    _check_layer(hooked, layer)
    found = hooked.anatomy.mlps[layer]
    if found is None:
        reason = hooked.card.reason_against("parts")
        raise _not_found(
            hooked, reason or phrase("the parts of layer {layer} are not one attention and one MLP", layer=layer)
        )
    return Site(layer=layer, module=found, side="output")


def stream_site(hooked: HookedModel, layer: int) -> Site:
    """The residual stream at a layer's entrance, or after the last layer. Raises: BadSetting, NotShown."""
    n_layers = len(hooked.anatomy.layers)
    _check_layer(hooked, layer, n_layers)
    if (reason := hooked.card.reason_against("residual")) is not None:
        raise _not_found(hooked, reason)
    if layer == n_layers:
        return Site(layer=layer - 1, module=hooked.anatomy.layers[-1], side="output")
    return Site(layer=layer, module=hooked.anatomy.layers[layer], side="input")


def check_attention(hooked: HookedModel) -> None:
    """Check that what attention reads can be edited. Raises: NotShown."""
    if hooked.anatomy.own_attention:
        raise _not_found(hooked, phrase("its family computes attention without the library's interface"))
    if (reason := hooked.card.reason_against("attention")) is not None:
        raise _not_found(hooked, reason)


def _layer_sites(hooked: HookedModel, layer: int) -> tuple[Site, ...]:
    """What each part of a layer adds to the residual stream. Raises: BadSetting, NotShown."""
    _check_layer(hooked, layer)
    if (reason := hooked.card.reason_against("parts")) is not None:
        raise _not_found(hooked, reason)
    module = hooked.anatomy.layers[layer]
    names = hooked.anatomy.parts[layer] or ()
    return tuple(Site(layer=layer, module=module.get_submodule(name), side="output") for name in names)


def _check_edge(hooked: HookedModel, edit: Edit) -> None:
    check_attention(hooked)
    if edit.layer is not None:
        _check_layer(hooked, edit.layer)
    if edit.head is not None:
        _check_head(edit.layer or 0, edit.head, hooked.card.n_heads)


def _check_layer(hooked: HookedModel, layer: int, last: int | None = None) -> None:
    last = len(hooked.anatomy.layers) - 1 if last is None else last
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= last:
        raise BadSetting(
            "layer is {layer}; {model} has layers 0 to {last}. Choose among them.",
            layer=shown(layer),
            model=hooked.card.name,
            last=last,
        )


def _check_head(layer: int, head: int, n_heads: int) -> None:
    if isinstance(head, bool) or not isinstance(head, int) or not 0 <= head < n_heads:
        raise BadSetting(
            "head is {head}; layer {layer} has heads 0 to {last}. Choose among them.",
            head=shown(head),
            layer=layer,
            last=n_heads - 1,
        )


def _not_found(hooked: HookedModel, reason: str) -> NotShown:
    return NotShown(
        "{model} cannot be edited like this: {reason}. Edit something else, or pick another model.",
        model=hooked.card.name,
        reason=reason,
    )
