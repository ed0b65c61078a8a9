"""Forms of a run for other tools: a file each, found by `tspsim.registry.EXPORTS`.

A module here has ``export(result, target)``, which writes a new file or into a new folder and
returns what it wrote, and one of two names that say what ``target`` is:

- ``SUFFIXES``: a file that ends in one of these;
- ``FILES``: a folder, with files that are called so (``"rank*.json.gz"``).

What it imports that a plain installation leaves out is its ``NEEDS``: a module, and the extra that
installs it. The first line of its docstring is what ``tspsim list exports`` shows. A name that no
module can have is its ``NAME``. That nothing is left half-written or replaced unasked is seen to in
`tspsim.output.exporting`.
"""
