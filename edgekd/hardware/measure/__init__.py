"""Latency that repeats: fresh processes, models in random order, thread CPU time beside wall time."""
