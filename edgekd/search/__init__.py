"""Find the student that a device deserves: sample a space, score without training, measure the best."""
