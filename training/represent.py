"""``python -m training represent``: chapter 3's tables, findings and figures.

Any other autoencoder is a TOML file (``--autoencoder``) that names its parts, as ``models.autoencoders`` calls them.
Each table is made of runs (one autoencoder, one set of light curves, one seed), which are kept under ``cells/``: the
same command goes on with what is missing, and with a run in its midst from its last epoch; given twice at once, the two
share the work. Synthetic sets are drawn; for the others ``--data`` names their directories.
"""

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from training import options
from training import representation_figures as figures
from training import representation_findings as findings
from training import representation_tables as tables
from training.arguments import count, positive
from training.claims import shared
from training.data import synthetic, variables
from training.errors import Diverged, InvalidData, OutOfTime
from training.interruption import resumable
from training.representation_tables import TABLES, Table
from training.representations import SIZES, Bench, Cell, Parts, cell_of

_FIGURE_PARTS = Parts(decoder="mlp")
"""The autoencoder of figures 3.3 to 3.6: MHA, then an MLP that estimates the variance."""
_SETS = (*synthetic.NAMES, *variables.READERS)
_LATENT_SPACE = "syn-c"
"""The set of figure 3.5."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--table", action="append", choices=tuple(TABLES), help="may be repeated; default: all")
    parser.add_argument(
        "--autoencoder",
        type=Path,
        action="append",
        default=[],
        metavar="TOML",
        help="make these in place of tables: encoder, pre_encoder, decoder, post_decoder, loss; may be repeated",
    )
    parser.add_argument("--on", action="append", choices=_SETS, help="of these sets alone; may be repeated")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=_source,
        metavar="NAME=DIR",
        help=f"where a set of real light curves is ({', '.join(variables.READERS)}); may be repeated",
    )
    parser.add_argument("--output", type=Path, required=True, help="directory for tables, figures and runs")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        choices=tuple(SIZES),
        help="of every run (default: full for the synthetic rows that findings rest on, else small)",
    )
    sizes.add_argument("--quick", dest="size", action="store_const", const="quick", help="as --size quick")
    parser.add_argument("--seeds", type=count, help="at most so many runs of each autoencoder")
    parser.add_argument(
        "--minutes", type=positive, default=float("inf"), help="stop after this long, at the end of an epoch"
    )
    options.add_arithmetic(parser, device="cuda" if torch.cuda.is_available() else "cpu")


def _source(words: str) -> tuple[str, Path]:
    name, _, directory = words.partition("=")
    if name not in variables.READERS or not directory:
        raise argparse.ArgumentTypeError(f"{words!r} is not NAME=DIR with a NAME of {', '.join(variables.READERS)}")
    return name, Path(directory)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    console = Console(stderr=True)
    sources = dict(arguments.data)
    for source in sources.values():
        if not source.is_dir():
            raise InvalidData(f"{source}: no such directory")
    bench = Bench(
        arguments.output,
        sources,
        torch.device(arguments.device),
        tunes_all=bool(arguments.autoencoder),
        **options.given(arguments, ("precision",)),
    )
    data = tuple(name for name in (*synthetic.NAMES, *sources) if name in (arguments.on or _SETS))
    if absent := set(arguments.on or ()) - set(data):
        raise InvalidData(f"--on {', '.join(sorted(absent))}: --data NAME=DIR says where it is")
    chosen = [TABLES[number] for number in arguments.table or TABLES]
    if arguments.autoencoder:
        chosen = [tables.table_of(tuple(map(Parts.read, arguments.autoencoder)), data)]
    for table in chosen:
        if not set(table.data) & set(data):
            if arguments.table:
                raise InvalidData(f"table {table.number} needs --data NAME=DIR of {', '.join(table.data)}")
            console.print(f"table {table.number} is left out: none of {', '.join(table.data)} was named")
    chosen = [table for table in chosen if set(table.data) & set(data)]
    # Tables share cells: 3.8 is made of those of 3.6 and 3.7.
    cells = {cell.name: cell for table in chosen for cell in tables.cells(table, data, arguments.size)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    with resumable(console):
        _fill(bench, list(cells.values()), arguments, console)
    _write(bench, chosen, data, arguments, console)
    return 0


def _fill(bench: Bench, cells: list[Cell], arguments: argparse.Namespace, console: Console) -> None:
    """Make the runs that are missing, telling of each."""
    end = time.monotonic() + 60 * arguments.minutes
    missing = [run for run in bench.missing(cells) if run.seed < (arguments.seeds or run.cell.size.seeds)]
    for each in shared(missing, bench.directory, console, is_left=lambda run: not bench.is_done(run), until=end):
        began = time.monotonic()
        try:
            found = bench.run(each.cell, each.seed, until=end)
        except OutOfTime:
            break
        except Diverged as error:
            console.print(f"left out: {error}")
            continue
        told = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        console.print(escape(f"{told}; {time.monotonic() - began:.0f} s"), highlight=False, soft_wrap=True)
    if remain := sum(not bench.is_done(run) for run in missing):
        console.print(f"time is up: {remain} of {len(missing)} runs remain")


def _write(
    bench: Bench, chosen: list[Table], data: tuple[str, ...], arguments: argparse.Namespace, console: Console
) -> None:
    for table in chosen:
        text = tables.page(table, bench, data, arguments.size)
        (arguments.output / f"{table.name}.md").write_text(text)
        console.print(escape(text), highlight=False, soft_wrap=True)
    for name in data:
        if any(name in table.data for table in chosen):
            _draw(bench, cell_of(name, _FIGURE_PARTS, arguments.size), arguments.output, console)
    text = findings.findings_page(findings.findings(bench, arguments.size))
    (arguments.output / "findings.md").write_text(text)
    console.print(escape(text), highlight=False, soft_wrap=True)


def _draw(bench: Bench, cell: Cell, output: Path, console: Console) -> None:
    """Figures 3.3 to 3.6 of one set; none where its autoencoder has not been trained."""
    if not bench.figures(cell):
        return
    light_curves = bench.curves(cell, 0)
    model = bench.model(cell, light_curves)
    if model is None:
        return
    figures.reconstructions(model, light_curves).savefig(output / f"reconstructions-{cell.data}.png", dpi=110)
    if cell.data != _LATENT_SPACE:
        return
    if not figures.has_umap():
        console.print("figure 3.5 is left out: umap-learn is not installed (the extra 'umap')")
        return
    picture = figures.latent_space(model, light_curves, most_epochs=cell.size.effort.probe_epochs)
    picture.savefig(output / f"latent-space-{cell.data}.png", dpi=110)
