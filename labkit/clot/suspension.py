"""Platelets in a box of plasma, before anything has moved."""
