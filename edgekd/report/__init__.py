"""What a build says of itself: report.json, and the same for a reader in report.md."""
