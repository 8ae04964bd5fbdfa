"""Pictures of a beam search."""
