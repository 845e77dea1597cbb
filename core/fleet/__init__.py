"""Agents: supervision, lifecycle, holds, process control, mailbox."""
