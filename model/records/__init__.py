"""Frozen records, one kind a file, and how a record becomes a file. No torch."""
