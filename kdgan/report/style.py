"""The look of the page: one style sheet, for light and dark, desktop and phone, screen and paper. No outside font or file.

Every rule stands under .kdgan, so that the same sheet serves a notebook's output without touching the notebook.
"""

from kdgan.report.drawing import FONT, INK, LINE, MUTED, REST, SERIES

# The series' colours on a dark ground: the same hues, lighter.
DARK_SERIES = ("#a3abb5", "#56a8dd", "#ff8f4f", "#3fc494", "#e08fc6", "#dcb33d", "#8ccdf2")


def _variables(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return "".join(f"{name}:{value};" for name, value in zip(names, values, strict=True))


_NAMES = ("--ink", "--muted", "--line", "--ground", "--card", "--accent", "--right", "--wrong",
          "--rest", *(f"--s{i}" for i in range(len(SERIES))))  # fmt: skip
LIGHT = _variables(_NAMES, (INK, MUTED, LINE, "#f7f7f4", "#ffffff", "#0b5fa5", "#00795a", "#b84a00", REST, *SERIES))
DARK = _variables(
    _NAMES,
    ("#e6e8eb", "#9ba3ad", "#2f343b", "#131518", "#1b1e22", "#7ab8ea", "#4fcfa2", "#ff9a61", "#5b626b", *DARK_SERIES),
)

CSS = f"""
.kdgan{{{LIGHT}color-scheme:light dark;color:var(--ink);font:16px/1.55 {FONT};
-webkit-text-size-adjust:100%;font-variant-numeric:tabular-nums}}
@media (prefers-color-scheme:dark){{.kdgan{{{DARK}}}}}
@media print{{.kdgan{{{LIGHT}}}}}
body.kdgan{{margin:0;background:var(--ground)}}
div.kdgan{{background:var(--card);padding:.2rem 1.5rem 1.2rem;border-radius:8px;max-width:68rem}}
div.kdgan .headline{{margin:1rem 0 1.4rem}}
.kdgan *{{box-sizing:border-box}}
.kdgan main{{max-width:68rem;margin:0 auto;padding:3rem 1.5rem 5rem}}
.kdgan h1{{font-size:1.9rem;line-height:1.2;letter-spacing:-.02em;margin:.15rem 0 .35rem;overflow-wrap:anywhere}}
.kdgan h2{{font-size:1.15rem;letter-spacing:-.005em;margin:0 0 .9rem}}
.kdgan h3{{font-size:.95rem;margin:1.6rem 0 .6rem;font-weight:600}}
.kdgan .first{{margin-top:0}}
.kdgan p{{margin:.5rem 0}}
.kdgan .eyebrow{{color:var(--muted);font-size:.8rem;letter-spacing:.02em;margin:0}}
.kdgan .what{{color:var(--muted);margin:0}}
.kdgan .headline{{font-size:1.4rem;line-height:1.42;letter-spacing:-.012em;
margin:1.7rem 0 0;max-width:46rem;text-wrap:pretty}}
.kdgan .headline.several{{font-size:1.15rem;margin-top:1.1rem}}
.kdgan section{{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:1.4rem 1.5rem;margin-top:1.25rem}}
.kdgan .facts{{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.9rem 1.5rem;margin:1.9rem 0}}
.kdgan .facts div{{border-top:1px solid var(--line);padding-top:.45rem}}
.kdgan dt{{color:var(--muted);font-size:.78rem}}
.kdgan dd{{margin:0;font-size:.93rem;overflow-wrap:anywhere}}
.kdgan .scroll{{overflow-x:auto;margin:0 -1.5rem;padding:0 1.5rem}}
.kdgan .scroll:focus-visible{{outline:2px solid var(--accent);outline-offset:-2px;border-radius:4px}}
.kdgan table{{border-collapse:collapse;width:100%;font-size:.9rem;color:inherit;background:none;border:0;margin:0}}
.kdgan caption{{text-align:left;color:var(--muted);font-size:.82rem;padding:0 0 .4rem}}
.kdgan tr,.kdgan tbody tr:nth-child(odd),.kdgan tbody tr:nth-child(even){{background:none}}
.kdgan th,.kdgan td{{text-align:right;padding:.5rem 0 .5rem 1.4rem;white-space:nowrap;font-weight:400;border:0;
border-bottom:1px solid var(--line);vertical-align:baseline}}
.kdgan thead th{{color:var(--muted);font-size:.8rem;padding-top:0}}
.kdgan thead td{{padding:0}}
.kdgan tbody th{{text-align:left;padding-left:0;padding-right:.4rem;position:sticky;left:0;background:var(--card)}}
.kdgan tbody tr:last-child>*{{border-bottom:0}}
.kdgan .best{{font-weight:650}}
.kdgan tr:has(+.secondary)>*{{border-bottom:0;padding-bottom:.15rem}}
.kdgan .secondary>*{{color:var(--muted);font-size:.8rem;padding-top:0;padding-bottom:.5rem}}
.kdgan .secondary+.secondary>*{{padding-top:0}}
.kdgan .secondary th{{padding-left:1.22rem}}
.kdgan .note,.kdgan figcaption,.kdgan .caption{{color:var(--muted);font-size:.8rem;line-height:1.5}}
.kdgan .note{{margin:.8rem 0 0;max-width:52rem}}
.kdgan .chip{{display:inline-block;width:.62rem;height:.62rem;border-radius:50%;margin-right:.6rem}}
.kdgan .chips{{display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;margin:-.3rem 0 .6rem;padding:0;
list-style:none;font-size:.88rem}}
.kdgan .chips .chip{{margin-right:.45rem}}
.kdgan .findings{{margin:.2rem 0 1.2rem;padding:0;list-style:none}}
.kdgan .findings li{{padding:.2rem 0}}
.kdgan .two{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));
gap:1.6rem 2.5rem;align-items:start}}
.kdgan .two>*{{min-width:0}}
.kdgan .panels{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18.5rem),1fr));gap:1.3rem 1.6rem}}
.kdgan .panels+.panels{{margin-top:1.3rem}}
.kdgan figure{{margin:0;min-width:0}}
.kdgan .panels figcaption{{color:var(--ink);font-size:.88rem;margin-bottom:.25rem}}
.kdgan .panels figcaption span{{color:var(--muted)}}
.kdgan svg{{display:block;width:100%;height:auto;overflow:visible}}
.kdgan .matrix svg{{max-width:31rem}}
.kdgan .errors{{max-width:24rem}}
.kdgan .seeds svg{{max-width:30rem}}
.kdgan .scroll+.scroll{{margin-top:1.2rem}}
.kdgan .two+.scroll,.kdgan .part+.part{{margin-top:1.6rem}}
.kdgan .heat svg,.kdgan .trade svg{{max-width:34rem}}
.kdgan .trade figcaption{{color:var(--ink);font-size:.88rem;margin-bottom:.25rem}}
.kdgan .trade figcaption span{{color:var(--muted)}}
.kdgan .images{{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.9rem,1fr));gap:1.1rem .9rem}}
.kdgan .images.wide{{grid-template-columns:repeat(auto-fill,minmax(9rem,1fr))}}
.kdgan .images img{{display:block;width:100%;aspect-ratio:1;object-fit:contain;border-radius:4px;background:var(--line)}}
.kdgan .images dl{{display:grid;grid-template-columns:auto 1fr;gap:0 .5rem;
margin:.35rem 0 0;font-size:.8rem;line-height:1.4}}
.kdgan .images dt{{font-size:inherit}}
.kdgan .images dd{{font-size:inherit;text-align:right}}
.kdgan .strips{{display:grid;grid-template-columns:minmax(6rem,max-content) minmax(0,1fr);gap:.5rem 1.1rem;
align-items:center;margin:0}}
.kdgan .strips dt{{color:var(--ink);font-size:.88rem;display:flex;align-items:baseline;overflow-wrap:anywhere}}
.kdgan .strips .chip{{flex:none}}
.kdgan .strips .variant{{color:var(--muted);font-size:.8rem}}
.kdgan .strips img,.kdgan .grids img{{display:block;max-width:100%;height:auto;background:var(--line)}}
.kdgan img.small{{image-rendering:pixelated}}
.kdgan .grids{{display:flex;flex-wrap:wrap;gap:1.3rem 1.6rem}}
.kdgan .grids figcaption{{color:var(--ink);font-size:.88rem;margin-bottom:.35rem}}
.kdgan .progress{{display:flex;gap:.7rem}}
.kdgan .progress img{{min-width:0;flex:0 1 auto;align-self:flex-start}}
.kdgan .progress ol{{display:flex;flex-direction:column;list-style:none;margin:0;padding:0;flex:none}}
.kdgan .progress li{{flex:1;display:flex;align-items:center;justify-content:flex-end;
color:var(--muted);font-size:.75rem;line-height:1;white-space:nowrap}}
.kdgan .tiles{{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.4rem,1fr));gap:.8rem .7rem;align-items:end}}
.kdgan .tiles img{{display:block;width:100%;height:auto;image-rendering:pixelated;background:var(--line)}}
.kdgan .tiles img+img{{margin-top:3px}}
.kdgan .tiles .none{{background:none}}
.kdgan .tiles figcaption{{color:var(--ink);font-size:.8rem;line-height:1.3;margin-bottom:.25rem;overflow-wrap:anywhere}}
.kdgan .tiles figcaption span{{color:var(--muted);display:block}}
.kdgan .tiles+.compare{{margin-top:1rem}}
.kdgan .restored+.restored{{border-top:1px solid var(--line);margin-top:1.3rem;padding-top:1.3rem}}
.kdgan .compare{{max-width:27rem;--at:50%}}
.kdgan .compare .pair{{position:relative;background:var(--line)}}
.kdgan .compare img{{display:block;width:100%;height:auto;image-rendering:pixelated}}
.kdgan .compare .over{{position:absolute;inset:0;clip-path:inset(0 calc(100% - var(--at)) 0 0)}}
.kdgan .compare .pair::after{{content:"";position:absolute;top:0;bottom:0;left:var(--at);width:2px;margin-left:-1px;
background:#fff;box-shadow:0 0 2px #000;pointer-events:none}}
.kdgan .compare input{{display:block;width:100%;margin:.4rem 0;accent-color:var(--accent)}}
.kdgan .compare .ends{{display:flex;justify-content:space-between;gap:1rem;font-size:.8rem}}
.kdgan .compare select{{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:4px;
padding:.15rem .3rem;max-width:47%}}
.kdgan .right{{color:var(--right)}}
.kdgan .wrong{{color:var(--wrong)}}
.kdgan pre{{font:.8rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-x:auto;margin:0;
color:inherit;background:none;border:0;padding:0;white-space:pre;tab-size:4}}
.kdgan details>summary{{cursor:pointer;font-size:.9rem;color:var(--accent)}}
.kdgan details[open]>summary{{margin-bottom:.9rem}}
.kdgan section>details:not(.more)>summary{{font-size:1.15rem;font-weight:700;color:inherit}}
.kdgan .more{{margin-top:1.3rem}}
.kdgan footer{{color:var(--muted);font-size:.8rem;margin-top:1.6rem}}
@media (max-width:36rem){{
.kdgan main{{padding:1.6rem .9rem 3rem}}
.kdgan h1{{font-size:1.55rem}}
.kdgan .headline{{font-size:1.18rem;margin-top:1.2rem}}
.kdgan section{{padding:1.1rem 1rem;border-radius:8px}}
.kdgan .scroll{{margin:0 -1rem;padding:0 1rem}}
.kdgan .facts{{grid-template-columns:1fr 1fr;gap:.7rem 1rem}}
.kdgan .images{{grid-template-columns:repeat(3,1fr)}}
.kdgan .images.wide{{grid-template-columns:repeat(2,1fr)}}
.kdgan .tiles{{grid-template-columns:repeat(auto-fill,minmax(6rem,1fr));gap:.7rem .5rem}}
.kdgan .strips{{grid-template-columns:1fr;gap:.25rem}}
.kdgan .strips dd{{margin-bottom:.4rem}}
}}
@media print{{.kdgan .compare{{display:none}}}}
@media print{{.kdgan section{{border:0;padding:0;break-inside:avoid-page}}.kdgan .scroll{{overflow:visible}}}}
"""
