"""The verbs of the command line, one module each or one for a group; loaded when they are called."""
