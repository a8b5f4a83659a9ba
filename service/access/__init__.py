"""API keys: who may do what. Nothing here knows of the web."""
