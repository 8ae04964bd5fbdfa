"""A run replayed with compressed KV caches."""
