"""What can be asked for, one kind a file, and the registry of kinds. Reading it imports no torch."""
