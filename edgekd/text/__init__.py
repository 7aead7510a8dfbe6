"""Text: encoders for sentence embeddings and classes, their data, and how they learn from a teacher."""
