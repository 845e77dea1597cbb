"""Panels and their parts. They know the board and the model, never the engine."""
