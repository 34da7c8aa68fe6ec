# SPDX-License-Identifier: Apache-2.0
"""Every row of run.py as a test: good protocols hold, each mutant is found."""

import concurrent.futures
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import run  # noqa: E402  (the path must come first)

ROWS = run.rows_of(os.environ.get("MORTAR_FULL") == "1")


@pytest.fixture(scope="module")
def verdicts(request):
    """{row: future}; as many at once as run.py allows, for all chosen tests."""
    chosen = [item.callspec.params["row"] for item in request.session.items
              if item.path == request.path]
    with concurrent.futures.ThreadPoolExecutor(run.JOBS) as pool:
        yield {row: pool.submit(run.run_row, row) for row in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.model}: {row.name}" for row in ROWS])
def test_model(row, verdicts):
    verdict = verdicts[row].result()
    print(f"{verdict.states} states, {verdict.cpu_s:.1f} s CPU")
    assert verdict.said == row.expected, verdict.text[-2000:]
