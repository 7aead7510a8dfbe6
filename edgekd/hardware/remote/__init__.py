"""Measuring on the device that will run it: one connection, one private folder, one small file that runs there."""
