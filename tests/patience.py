"""How long tests wait for what must come: it costs nothing when it comes, and slow machines need it."""

PATIENCE_S = 60  # after which a wait counts as for ever
