"""One file a subject; each view is found by its `@view`."""
