"""The command `kube-gateway`.

Verbs are listed here by name and sentence only, and their modules imported on use: a command line is felt to be slow from
a tenth of a second on. Errors meant for a person become two lines, `error:` and `hint:`, and an exit code: 1 the thing
asked for failed, 2 the command was wrong, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import NoReturn

import click

from kube_gateway import __version__
from kube_gateway.errors import KubeGatewayError

_VERBS = {
    "demo": "Two running pods, in clear and then encrypted",
    "install": "Print the watcher's manifest, for kubectl apply -f -",
    "check": "Whether a cluster is fit for kube-gateway, and all is well in it",
    "status": "Pods of a cluster: which are encrypted, which are not, and why",
    "flush": "What netflush would do to a pod's connections, one by one",
    "local": "Pods on this machine, without a cluster",
    "verify": "Prove that traffic between two pods is encrypted",
    "policy": "Who may reach which pod: check and explain GatewayPolicies",
    "ai": "Control of LLM calls: check, explain and try policies",
    "ca": "The certificate authority",
    "identity": "What a pod would prove: its certificate, and the roots that it trusts",
    "revoke": "Have nothing more to do with a pod, whatever its certificate says",
    "unrevoke": "Take back a pod that was revoked",
    "watch": "Watch a cluster, and put gateways into its pods (started by install)",
    "gateway": "Run the gateway of this pod (started by the watcher)",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            close = difflib.get_close_matches(cmd_name, _VERBS, n=1)
            raise click.UsageError(f"no such verb {cmd_name!r}" + (f", did you mean {close[0]}?" if close else ""), ctx)
        command = importlib.import_module(f"kube_gateway.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - each module of this package exports one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kube-gateway", message="%(prog)s %(version)s")
def kube_gateway() -> None:
    """Mutual TLS for pods that are already running."""


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are told on stderr."""
    try:
        result = kube_gateway.main(arguments, prog_name="kube-gateway", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message(), err=True)
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "kube-gateway"
        return _tell(error.format_message().rstrip("."), f"{path} --help", 2)
    except click.ClickException as error:
        return _tell(error.format_message(), None, error.exit_code)
    except KubeGatewayError as error:
        return _tell(error.message, error.hint, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more to say, and nobody to say it to at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("KUBE_GATEWAY_TRACEBACK"):
            raise
        return _tell(
            f"unexpected {type(error).__name__}: {error}", "run again with KUBE_GATEWAY_TRACEBACK=1 and report it", 2
        )
    return result if isinstance(result, int) else 0


def _tell(message: str, hint: str | None, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code
