"""labkit.viz."""
