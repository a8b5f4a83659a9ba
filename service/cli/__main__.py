"""`python -m service.cli`, for processes that the commands themselves start."""

from service.cli import main

main()
