"""The machine and the terminal: cores, processes, progress, text that any terminal shows."""
