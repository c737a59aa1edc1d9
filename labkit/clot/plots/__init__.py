"""Figures of the clot study."""
