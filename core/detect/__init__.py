"""Detection: signals go in, findings come out. Pure but for the intake: no clock, no I/O."""
