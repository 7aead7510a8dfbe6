"""Weights that are zero: which, when they become so, and what a device makes of them."""
