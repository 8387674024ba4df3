"""What `test_ranks` has ranks do; each writes what it got to OUT/<rank>.json."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch

from llarp.errors import UserError
from llarp.learn.preemption import Preemption, shared_counter
from llarp.ranks import Ranks


def meet(processes=2, machines=1):
    return Ranks.meet(SimpleNamespace(processes=processes, machines=machines, mixed_precision="none"))


def write(out, ranks, **got):
    Path(out, f"{ranks.rank}.json").write_text(json.dumps(got))


def talk(out):
    ranks = meet()
    large = bytes(range(256)) * 5000
    write(
        out, ranks,
        sizes=[ranks.gather(value) for value in (None, ["", "ä" * 1000][ranks.rank], {"rank": ranks.rank, "π": [0.1]})],
        sent=[(ranks.from_first(data if ranks.is_first else None) == data) for data in (b"", b"x", large)],
        sum=ranks.sum(torch.tensor([1.5, ranks.rank])).tolist(),
        work=ranks.alike(lambda: ranks.rank + 10),
    )  # fmt: skip
    ranks.wait()


def refuse(out):
    """The second rank gives up, then both do, then none."""
    ranks, told = meet(), []

    def give_up(*who):
        if ranks.rank in who:
            raise UserError(f"no use for rank {ranks.rank}", Path("some/where"), "give it up")

    for who in ((1,), (0, 1), ()):
        try:
            ranks.alike(lambda who=who: give_up(*who))
            told.append(None)
        except UserError as error:
            told.append(str(error))
    write(out, ranks, told=told)


def refuse_on_machines(out):
    ranks = meet(machines=2)
    write(out, ranks, machines=[ranks.machine(rank) for rank in range(2)])
    ranks.alike(lambda: _fail(ranks))


def _fail(ranks):
    if ranks.rank:
        raise UserError("cannot write here", "data", "make room")


def too_few(out):
    meet(processes=3)


def count(out):
    """The store that ranks meet through counts for a preemption, and forgets."""
    ranks = meet()
    store = shared_counter(ranks.count)
    preemption, before = Preemption(store, 2, 0.5, 0.0), store.num_keys()
    cut = []
    for update in range(7_000_000, 7_000_100):
        if ranks.is_first:
            preemption.finished(update)
        ranks.wait()
        cut.append(preemption.should_stop(update, 1, 2))
        ranks.wait()
        if ranks.is_first:
            preemption.forget(update)
        ranks.wait()
    write(out, ranks, cut=all(cut), more=store.num_keys() - before)
    ranks.wait()
