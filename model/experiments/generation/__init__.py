"""One prompt continued, with every pass recorded."""
