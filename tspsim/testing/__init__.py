"""For authors of strategies: the checks that tspsim's own strategies pass, to run on another one.

With pytest::

    import pytest
    from tspsim.testing import contract

    @pytest.mark.parametrize("check", contract("my_strategy", {"degree": 4}), ids=str)
    def test_contract(check):
        check()

A check raises `AssertionError` and says what is wrong: which tensors differ, which collective could
be left out unnoticed, which calls do not meet.
"""

from tspsim.testing.case import MODEL, WORKLOAD, Case, case
from tspsim.testing.checks import Check, contract
from tspsim.testing.mutate import Skipped, forgettable, without

__all__ = [
    "MODEL",
    "WORKLOAD",
    "Case",
    "Check",
    "Skipped",
    "case",
    "contract",
    "forgettable",
    "without",
]
