"""One loaded model, its queue and its worker."""
