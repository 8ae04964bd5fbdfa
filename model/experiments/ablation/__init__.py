"""Parts of a model switched off, and the run computed anew."""
