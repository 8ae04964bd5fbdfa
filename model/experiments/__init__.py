"""How each kind of experiment is done, one folder a kind; none imports another."""
