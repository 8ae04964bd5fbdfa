"""What a model is made of: its parts, one block, positions and tokens, found by running it."""
