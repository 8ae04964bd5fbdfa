"""Beam search, as transformers does it, with everything that it ranked."""
