"""Who may do what now: leases with fencing tokens, and the one engine that leads a repository."""
