"""Training-free scores, each beside its baselines: parameters and MACs."""
