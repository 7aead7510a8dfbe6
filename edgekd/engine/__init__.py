"""The staged engine: content-addressed, resumable, and honest about what it measured and what it decided."""
