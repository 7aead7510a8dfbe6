"""Going through a space with Optuna: which shape to look at next, kept in a database that outlives kills."""
