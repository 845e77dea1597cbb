"""How the console looks: colours by meaning, and the Textual stylesheet."""
