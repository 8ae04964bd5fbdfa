"""The hooks that a model's modules carry."""

from typing import Any

from torch.nn.modules import module as every_module


def count_hooks(model: Any) -> int:
    """Hooks and replaced forward methods on a model's modules, and the hooks that torch calls for every module."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    of_every = sum(len(getattr(every_module, f"_global_{kind}")) for kind in kinds)
    own = sum(len(getattr(module, f"_{kind}")) for module in model.modules() for kind in kinds)
    return of_every + own + sum("forward" in vars(module) for module in model.modules())
