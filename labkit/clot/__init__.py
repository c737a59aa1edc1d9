"""Platelets in flowing plasma with four time steps that a learned controller chooses."""
