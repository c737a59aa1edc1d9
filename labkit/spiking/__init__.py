"""Spiking graph neural networks in Loihi 2 integer arithmetic."""
