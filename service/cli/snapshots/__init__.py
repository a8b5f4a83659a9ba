"""`apical snapshots`: operators' verbs against the learner, and checks of a store."""

from __future__ import annotations

import click

from service.cli.snapshots import change, look, rebase


@click.group(name="snapshots", help="List snapshots, look at them, go back to one.")
def command() -> None:
    pass


for _part in (look, change, rebase):
    for _verb in _part.VERBS:
        command.add_command(_verb)
