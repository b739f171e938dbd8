"""The command's frame: which commands there are, and what a failure looks like (one line on standard error, an exit code)."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, NoReturn

import typer

from fedtap import __version__
from fedtap.cli import advise, compare, flower, methods, node, report, run, scenario, study, sweep, theory
from fedtap.cli.live import watch
from fedtap.cli.models import export, onboard, predict, serve
from fedtap.cli.own import new
from fedtap.cli.screen import examples, write_what_the_output_can
from fedtap.cli.start import demo, doctor, fetch
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.home import give_home
from fedtap.runtime.installing import install_package
from fedtap.runtime.memory import keep_freed_memory
from fedtap.runtime.text import one_line
from fedtap.runtime.threads import share_cores
from fedtap.scenario.renamed import RenamedKeyWarning

app = typer.Typer(
    name="fedtap",
    help="Personalized federated fine-tuning of multi-modal, multi-task foundation models.",
    epilog=examples(
        "fedtap doctor",
        "fedtap demo",
        "fedtap scenario list",
        "fedtap run quickstart",
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.command("new", cls=new.ManyPlaces, epilog=new.EXAMPLES)(new.new)
app.command("fetch", epilog=fetch.EXAMPLES)(fetch.fetch)
app.command("run", cls=run.ResumeAlone, epilog=run.EXAMPLES)(run.run)
app.command("advise", epilog=advise.EXAMPLES)(advise.advise)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("sweep", epilog=sweep.EXAMPLES)(sweep.sweep)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("watch", epilog=watch.EXAMPLES)(watch.watch)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("export", epilog=export.EXAMPLES)(export.export)
app.command("onboard", epilog=onboard.EXAMPLES)(onboard.onboard)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.add_typer(scenario.app, name="scenario")
app.add_typer(theory.app, name="theory")
app.add_typer(study.app, name="study")
app.add_typer(flower.app, name="flower")
app.add_typer(node.app, name="node")
app.command("methods", epilog=methods.EXAMPLES)(methods.methods)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)

# Typer's own bases of its errors; older versions take them from click, newer ones bring them along.
_CLICK_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)


@app.callback(invoke_without_command=True)
def fedtap(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Personalized federated fine-tuning of multi-modal, multi-task foundation models."""
    if version:
        typer.echo(f"fedtap {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 2 wrong input, 1 the run failed, 130 interrupted."""
    share_cores()
    give_home()
    keep_freed_memory()
    write_what_the_output_can()
    code = _call(arguments)
    if arguments is None:
        _leave(code)
    sys.exit(code)


def _call(arguments: Sequence[str] | None) -> int:
    try:
        with _old_names_told():
            result = app(args=None if arguments is None else list(arguments), prog_name="fedtap", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except UserError as error:
        return _fail(str(error), 2)
    except RunError as error:
        return _fail(str(error), 1)
    except _CLICK_ERROR as error:
        return _fail(_usage(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has left. Python would complain once more when it closes the stream.
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115
        return 0
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "fedtap":
            raise
        return _fail(_missing(error.name), 2)
    except MemoryError:
        return _fail("out of memory; try --set batch_size=8, or a smaller network.dim", 1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}; check that the place exists and may be used", 1)


def _leave(code: int) -> NoReturn:
    """End the process at once: all is written, and taking torch apart piece by piece takes up to a second."""
    with suppress(OSError, ValueError):  # what could not be written has been told
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


@contextmanager
def _old_names_told() -> Iterator[None]:
    """Write each warning about a key's old name as one line, once."""
    with warnings.catch_warnings():
        show, told = warnings.showwarning, set[str]()

        def one_line_each(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, RenamedKeyWarning):
                show(message, category, *rest, **more)
            elif str(message) not in told:
                told.add(str(message))
                print(f"fedtap: {one_line(str(message))}", file=sys.stderr)

        warnings.simplefilter("always", RenamedKeyWarning)
        warnings.showwarning = one_line_each
        yield


def _missing(module: str) -> str:
    from fedtap.cli.start.versions import package_of

    package = package_of(module)
    return f"package {package} is not installed; run: {install_package(package)} (`fedtap doctor` shows all that is missing)"


def _usage(error: Exception) -> str:
    """Return a usage error as one line that names the command and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "fedtap"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{message.rstrip('.')}; `{command} --help` shows what it takes"


def _fail(message: str, code: int) -> int:
    print(f"fedtap: {one_line(message)}", file=sys.stderr)
    return code
