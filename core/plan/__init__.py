"""Plans: the options of an incident, rehearsed, with their risk, and what carries one out."""
