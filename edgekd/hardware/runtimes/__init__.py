"""One runtime a file; each is imported only when a model is opened in it."""
