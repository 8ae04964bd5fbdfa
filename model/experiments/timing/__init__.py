"""Prefill and decode timed without hooks, with and without the KV cache."""
