"""What a run found, for people: tables in the terminal, inline in a notebook, and the page report.html.

Everything here reads the files of a workdir (summary.json, metrics.jsonl, explanation.txt, evaluation.npz) and nothing
else, so that a report is written on a machine without an accelerator, without JAX, and while a run goes on.

    report.text(workdir)     the tables, for a terminal
    report.markdown(workdir) the same in Markdown, for a README
    report.write(workdir)    report.html: one page that needs no network; beside it the tables as report.md
    report.show(workdir)     tables and curves inline in a notebook; `tables_html` and `curves_html` give the parts

read         the files of a workdir
entries      which stages a run compares, which players a table shows, and under which name
origins      which players came from checkpoints, in the notes below a table
measured     the metrics: heads, units, which end is better, and which one a comparison goes by
latency      what the latencies of a table mean, and which of them time the call and not the player
numbers      how a number is written
tables       the table of results, as data
rendering    a table as text, Markdown and HTML
choice       which arm is singled out: by the validation split, where there is one
differences  arms compared seed by seed: intervals, p-values, and when a difference is clear
findings     the sentences that say the outcome
curves       learning curves: mean and interval over seeds at each step
palette      which colour an arm has
drawing      what figures share: colours, ground, SVG
plots        curves, and a dot for every seed, as inline SVG
pictures     confusion matrix and images
grids        images side by side in one PNG; a run writes its files of samples with it
sections     the parts of any run's page, each left out where its input is missing
training, classification, generation   the parts about learning curves, a classifier's test images, and samples
page, markup, style  the HTML page
"""

from kdgan.report.page import curves_html, markdown, show, tables_html, text, write

__all__ = ["curves_html", "markdown", "show", "tables_html", "text", "write"]
