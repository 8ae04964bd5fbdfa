"""A folder with a model becomes a hooked model that has passed its self-check."""
