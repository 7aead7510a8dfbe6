"""Packages whose pins are at odds with edgekd's own: each in an environment of its own, asked through files."""
