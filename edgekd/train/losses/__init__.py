"""Distillation losses as pure functions, one family a file; chosen in YAML by name."""
