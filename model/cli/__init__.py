"""The command line: sub-commands and flags made from the registry of kinds, and tables."""
