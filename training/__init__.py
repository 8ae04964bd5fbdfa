"""How what the project ships was trained."""
