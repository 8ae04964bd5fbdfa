"""A steered run: the text that was written; as JSON also what was added."""

from model.cli.tables.ablate import SHOWN as SHOWN  # an edited run is told alike, whatever was edited
