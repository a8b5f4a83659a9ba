"""An application in uvicorn, here or as a child process."""
