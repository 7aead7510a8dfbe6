"""Distillation: the float phase of training a student."""
