"""Execute: the four phases of a rollback, every step journaled, resumable and with a way back."""
