"""The `apical` command. Each subcommand imports what it needs when it runs, so that a role can be
installed without the packages of the others."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from service.cli.said import any_terminal

COMMANDS = {
    "alarms": "What was noticed and nobody has acknowledged yet.",
    "backup": "Copy log and store together, also while a learner runs.",
    "demo": "Stream real sensors through a learner and watch it learn.",
    "drift": "What has drifted, and a new reference to measure it against.",
    "events": "Errors by time and line: find the bad hour.",
    "export": "Write a model's events to a file.",
    "init": "Write an apical.toml to start from, for a CSV or Parquet file.",
    "keys": "API keys: add one, list them, revoke one.",
    "replay": "Rebuild a past state from snapshot and log, and compare it.",
    "replica": "Run a read-only replica that follows the champion.",
    "restore": "Put a backup back in place.",
    "send": "Send a file to a learner as its line would.",
    "serve": "Run a learner.",
    "status": "What a model does now, and what to do next.",
    "snapshots": "List snapshots, look at them, go back to one.",
    "watch": "`apical status` again and again, until stopped.",
}


class _Lazy(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Without a look into the commands themselves, which takes as long as to run them.
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise _missing(ctx.invoked_subcommand or "", error.name or str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # Before numpy is imported. Its threads wait for each other in a loop that burns a core, and
        # no matrix here is so large that they would help.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            command = import_module(f"service.cli.{cmd_name}").command
        except ModuleNotFoundError as error:
            return _unavailable(cmd_name, error.name or str(error))
        assert isinstance(command, click.Command)
        return command


def _unavailable(name: str, package: str) -> click.Command:
    @click.command(
        name,
        help=f"{COMMANDS[name]} (package {package} is not installed)",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        raise _missing(name, package)

    return command


def _missing(name: str, package: str) -> click.ClickException:
    return click.ClickException(
        f"`apical {name}` needs the package {package}; install the extra of this role: "
        "pip install 'apical[learner]' or 'apical[replica]'"
    )


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="apical", prog_name="apical")
def main() -> None:
    """Online-learning inference: a line POSTs sensor batches and teaches with every label."""
    # Diagnostics must not be lost when the output is a file that the process dies before flushing.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    any_terminal()
