"""What a person or a script meets."""
