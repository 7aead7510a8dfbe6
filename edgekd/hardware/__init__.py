"""Devices: what they are, what runs on them, and how long it takes there."""
