"""labkit.ui."""
