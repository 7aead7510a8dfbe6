"""Data: where samples come from, how they are split, and the views of them that training sees."""
