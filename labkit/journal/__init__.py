"""Trials of a search in one file, shared by processes and kept through a kill.

`ownership` tells which process holds something, `file` opens the journal. What a trial is, and when
it counts, is for the study that uses them. Nothing of Optuna is imported before a file is opened.
"""
