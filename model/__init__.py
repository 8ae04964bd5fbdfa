"""What happens inside: a model, run and recorded."""
