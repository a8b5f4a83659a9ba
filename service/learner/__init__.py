"""Inbox, writer, live models; what follows a commit."""
