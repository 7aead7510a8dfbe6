"""Units that really go: which ones a device pays for most, what each is worth, and the smaller net without them."""
