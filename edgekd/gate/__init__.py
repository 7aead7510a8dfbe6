"""The gate: a candidate against a baseline, on the same device in the same job."""
