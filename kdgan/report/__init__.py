"""What a run found, for people: tables in the terminal, inline in a notebook, and the page report.html.

Everything here reads the files of a workdir (summary.json, metrics.jsonl, measures.json, explanation.txt, evaluation.npz)
and nothing else, so that a report is written on a machine without an accelerator, without JAX, without the evaluators of the
run, and while a run goes on. No measure and no kind of player is known beforehand: the files say what each number is.

    report.text(workdir)     the tables, for a terminal
    report.markdown(workdir) the same in Markdown, for a README
    report.write(workdir)    report.html: one page that needs no network; beside it the tables as report.md
    report.show(workdir)     tables and curves inline in a notebook; `tables_html` and `curves_html` give the parts

read         the files of a workdir
entries      which stages a run compares, which players a table shows, and under which name
origins      which players came from checkpoints, in the notes below a table
measured     how a measure is shown, which end of it is better, and which one a comparison goes by
settings     what arms differ in, and grids of two hyper-parameters
latency      what the latencies of a table mean, and which of them time the call and not the player
numbers      how a number is written
table        a table as data; `rendering` writes it as text, Markdown and HTML
tables       the tables of results; their columns of `costs`, and the `notes` below them
choice       which arm is singled out, by the validation split where there is one, and in which order many arms stand
differences  arms compared seed by seed: intervals, p-values, and when a difference is clear
findings     the sentences that say the outcome
curves       learning curves: mean and interval over seeds at each step
palette      which colour an arm has
drawing      what figures share: colours, ground, SVG
plots, heat, trade, matrix   curves and dots of seeds; grids; quality against cost; counts: as inline SVG
sections     the parts of any run's page, each left out where its input is missing
training, images, figures    the parts of learning curves, of images that players made, and of what evaluators leave beside
page, markup, style          the HTML page
"""

from kdgan.report.page import curves_html, markdown, show, tables_html, text, write

__all__ = ["curves_html", "markdown", "show", "tables_html", "text", "write"]
