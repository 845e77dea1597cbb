"""Durable state: the state directory, who a repository is, the three databases, the journal and the audit chain."""
