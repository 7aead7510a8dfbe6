"""Scripts that run in a toolchain's environment, where edgekd is not: they import nothing of it."""
