"""The precisions in which a model can be loaded, by name."""

from model.errors import BadSetting

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def check_precision(dtype: str) -> None:
    """Check that this names a precision: auto is the checkpoint's own on an accelerator and float32 on the processor.

    Raises: BadSetting.
    """
    if dtype not in PRECISIONS:
        raise BadSetting(
            "dtype is {dtype!r}; a model is loaded in one of {choices}. Choose one of these, or leave it out.",
            dtype=dtype,
            choices=", ".join(PRECISIONS),
        )
