"""A model's name becomes a folder on disk: from the hub, a local folder or the embedded default."""
