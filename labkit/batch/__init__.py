"""labkit.batch."""
