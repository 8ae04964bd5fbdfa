"""A prompt continued speculatively: drafts, their verification and the speedup."""
