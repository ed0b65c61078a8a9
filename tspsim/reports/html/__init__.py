"""The report: one HTML page that answers, for a run, a comparison or a sweep.

The straight line::

    folders ── sources ──▶ subject ── answers, drawn, settings ──▶ mapping ── page ──▶ one HTML file

Nothing on the page is fetched: style, scripts and data stand in it.
"""
