"""labkit.oversampling."""
