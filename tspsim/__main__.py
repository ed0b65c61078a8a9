"""``python -m tspsim`` is the ``tspsim`` command."""

from tspsim.cli import main

if __name__ == "__main__":
    main()
