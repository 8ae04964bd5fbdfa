"""A run continued from one of its steps with another token."""
