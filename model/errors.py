"""What the program refuses to do, in words meant for a person.

A refusal repeats what was given, says what bound it met and why, and names the way out. It is shown as it is:
beside the form on the page, as one line on stderr with exit code 2 on the command line. Any exception that is
not a `Refusal` is a bug: logged whole, shown as one short line, exit code 1.
"""

from typing import LiteralString

from model.texts import phrase


class Refusal(Exception):
    """A request this program will not carry out, with the reason and the way out in the message.

    The message is a template and its values, as `model.texts.phrase` takes them.
    """

    def __init__(self, template: LiteralString, /, **values: object) -> None:
        super().__init__(phrase(template, **values))


class BadPrompt(Refusal):
    """The prompt cannot be read: empty, blank, or not text."""


class PromptTooLong(Refusal):
    """The prompt has more tokens or bytes than the host or the model's context allows."""


class BadSetting(Refusal):
    """A setting lies outside the range in which it means something."""


class UnknownModel(Refusal):
    """No model by that name: not a folder with a model, not known to the hub, or the hub does not answer."""


class NotAllowed(Refusal):
    """The host does not let visitors do this, such as loading a model from elsewhere on its disk."""


class UnsafeModel(Refusal):
    """The model would run code of its own: pickled weights, or a remote Python file."""


class BadWeights(Refusal):
    """The weights did not arrive whole: a wrong checksum, a broken download or conversion."""


class NoSpace(Refusal):
    """There is no room for what must be kept: on the disk, or in the store of records."""


class BadTrace(Refusal):
    """The file is not a trace this version can read: damaged, cut short, too large, or hostile."""


class NotShown(Refusal):
    """This cannot be shown for this model; the message carries the reason found when the model was loaded."""


class NotANumber(Refusal):
    """The model computed NaN; the message names the first layer that has one."""


class Busy(Refusal):
    """The queue is full."""


class Cancelled(Exception):
    """Nobody wants this work any more: raised between its pieces, and no refusal."""
