"""From a trained net to files that a runtime runs, and the proof that they are the net."""
