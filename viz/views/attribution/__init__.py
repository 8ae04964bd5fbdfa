"""Pictures of an attribution."""
