"""Requests that nobody should send, by the thousand: nothing breaks, nothing is learned by them."""
