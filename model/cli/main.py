"""Entry point of the command line: what goes wrong becomes one line on stderr and an exit code."""

import os
import sys
from collections.abc import Sequence

from model.api.terminal import bug, say
from model.cli.arguments import page_limits_off, parse
from model.cli.carry_out import carry_out
from model.errors import Refusal
from model.limits import Limits
from model.texts import phrase


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for. Returns the exit code; all messages go to stderr, one line each."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its hints are for programmers; ours are the refusals
    try:
        limits = page_limits_off(Limits.from_environment())
        return carry_out(parse(sys.argv[1:] if arguments is None else arguments, limits), limits)
    except Refusal as refusal:
        say(str(refusal))
        return 2
    except KeyboardInterrupt:
        say(phrase("stopped"))
        return 130
    except BrokenPipeError:  # as `| head` does
        return 141
    except Exception as error:  # noqa: BLE001 - whatever else comes is a bug: logged whole, shown as one line
        say(bug(error))
        return 1
