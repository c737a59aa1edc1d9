"""Who chooses the time steps of a segment, and what becomes of a choice that was too bold."""
