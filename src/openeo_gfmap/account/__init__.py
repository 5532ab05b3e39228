"""What became of a run: its samples, files and costs, read from the folder that it made."""
