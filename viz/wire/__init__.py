"""A record as the parts that a browser reads."""
