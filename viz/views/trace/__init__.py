"""Pictures of a run that are made in Python."""
