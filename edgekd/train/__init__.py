"""The training loop, its schedule, its checkpoints and its losses."""
