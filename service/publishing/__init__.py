"""From a state to a published snapshot and a champion; retention."""
