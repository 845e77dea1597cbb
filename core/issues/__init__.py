"""Safe operations on Issues, whoever keeps them: no two winners, no lost update, no duplicate, no half batch."""
