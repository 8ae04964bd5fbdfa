"""What the command line prints of a record, one kind a file, named as its sub-command."""
