"""Follow the champion, load and check it, answer; never torch."""
