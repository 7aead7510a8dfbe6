"""int8 in the dialect of a runtime: after training (PTQ), and while it goes on (QAT)."""
