"""Orders of work: equal to torch's own, complete, and refused where a kind does not allow sizes."""

from __future__ import annotations

import pytest
from torch.distributed.pipelining import schedules as torch_schedules
from torch.distributed.pipelining.stage import _PipelineStageBase

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import SCHEDULES, ParallelConfig
from labkit.llm_parallel.memory import in_flight
from labkit.llm_parallel.schedule import Schedule, pipeline_schedule, simulate
from labkit.llm_parallel.schedule_orders import Action

TORCH = {
    "gpipe": torch_schedules.ScheduleGPipe,
    "1f1b": torch_schedules.Schedule1F1B,
    "interleaved_1f1b": torch_schedules.ScheduleInterleaved1F1B,
    "looped_bfs": torch_schedules.ScheduleLoopedBFS,
    "zb_h1": torch_schedules.ScheduleInterleavedZeroBubble,
    "zbv": torch_schedules.ScheduleZBVZeroBubble,
}
SIZES = [(p, m) for p in (1, 2, 3, 4, 8) for m in (p, p + 1, 2 * p - 1, 2 * p, 3 * p, 4 * p)]
CHUNKS = {"gpipe": (1,), "1f1b": (1,), "zbv": (2,), "zb_h1": (1, 2, 3)}


class RecordingStage(_PipelineStageBase):
    """A stage of a pipeline without processes, that notes what the schedule's loop calls."""

    _prepare_forward_infra = _prepare_backward_infra = _create_grad_recv_info = None

    def __init__(self, stage, n_stages, p):
        self.stage_index, self.num_stages = stage, n_stages
        self.group_size, self.group_rank = p, stage % p
        self.submod = None
        self.ran = []

    def forward_one_chunk(self, microbatch, *_, **__):
        self.ran.append(("F", self.stage_index, microbatch))

    def backward_one_chunk(self, microbatch, **_):
        self.ran.append(("B", self.stage_index, microbatch))

    def perform_reduce_grad(self, *_):
        pass

    def no_messages(self, *_):
        return []

    get_fwd_recv_ops = get_fwd_send_ops = get_bwd_recv_ops = get_bwd_send_ops = no_messages


RecordingStage.__abstractmethods__ = frozenset()


def torch_schedule(kind, p, m, v, *, rank=0):
    """torch's schedule of one rank, or None where torch refuses the sizes."""
    stages = [RecordingStage(rank + chunk * p, p * v, p) for chunk in range(v)]
    try:
        return TORCH[kind](stages[0] if kind in ("gpipe", "1f1b") else stages, m)
    except ValueError:
        return None


def torch_order(kind, p, m, v):
    """``pipeline_order`` without its empty slots and reductions of gradients."""
    schedule = torch_schedule(kind, p, m, v)
    return schedule and tuple(
        tuple(
            (action.computation_type.value, action.stage_index, action.microbatch_index)
            for action in schedule.pipeline_order[rank]
            if action is not None and action.microbatch_index is not None
        )
        for rank in range(p)
    )


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "1f1b"])
def test_orders_equal_the_pipeline_order_of_torch(kind):
    compared = 0
    for v in CHUNKS.get(kind, (1, 2, 3)):
        for p, m in SIZES:
            theirs = torch_order(kind, p, m, v)
            if theirs is None:
                with pytest.raises(ParameterError, match="rounds of equal size"):
                    pipeline_schedule(kind, p, m, v)
            else:
                compared += 1
                assert pipeline_schedule(kind, p, m, v).order == theirs, (p, m, v)
    assert compared >= 24


def test_1f1b_equals_the_pipeline_order_of_torch_but_for_its_slip_on_the_last_rank():
    # torch 2.13 draws the last rank's forward passes as 1 to m; its loop runs 0 to m - 1, as the
    # next test shows, and there is no micro-batch m.
    for p, m in SIZES:
        *ours, our_last = pipeline_schedule("1f1b", p, m).order
        *theirs, their_last = torch_order("1f1b", p, m, 1)
        assert ours == theirs
        slipped = tuple((kind, stage, j + (kind == "F")) for kind, stage, j in our_last)
        assert their_last in (our_last, slipped)


@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_orders_equal_what_the_loop_of_torch_runs(kind):
    for p, m in SIZES:
        ours = pipeline_schedule(kind, p, m).order
        for rank in range(p):
            schedule = torch_schedule(kind, p, m, 1, rank=rank)
            schedule._initialize_stage = lambda *_: None  # shapes, which are not needed
            schedule._step_microbatches()
            assert tuple(schedule._stage.ran) == ours[rank], (p, m, rank)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize(("p", "m"), [(1, 1), (2, 1), (4, 2), (3, 3), (4, 8), (8, 24)])
def test_every_stage_passes_every_microbatch_once_each_way(kind, p, m):
    schedule = pipeline_schedule(kind, p, m)
    actions = [action for order in schedule.order for action in order]
    assert len(actions) == len(set(actions))
    halves = ["I", "W"] if kind in ("zb_h1", "zbv") else ["B"]
    expected = {
        Action(half, stage, j)
        for half in ("F", *halves)
        for stage in range(schedule.p * schedule.v)
        for j in range(m)
    }
    assert set(actions) == expected
    assert (schedule.p, schedule.m) == (p, m)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_in_flight_equals_what_the_memory_model_counts(kind):
    v = CHUNKS.get(kind, (2,))[-1]
    for p in (2, 4, 8):
        for m in (p, 2 * p, 5 * p):
            strategy = ParallelConfig(pp=p, virtual_pp=v, global_batch_size=m, schedule=kind)
            same = ParallelColumns.of([strategy] * p)
            held = in_flight(same, list(range(p)))
            assert tuple(held) == pipeline_schedule(kind, p, m, v).peak_in_flight, (p, m)


@pytest.mark.parametrize("p", range(2, 17))
def test_1f1b_holds_as_many_microbatches_as_stages_follow(p):
    for m in (1, p - 1, p, p + 1, 4 * p):
        held = pipeline_schedule("1f1b", p, m).peak_in_flight
        assert held == tuple(min(m, p - rank) for rank in range(p))
        assert pipeline_schedule("gpipe", p, m).peak_in_flight == (m,) * p


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1f1c", 4, 8), "schedule='1f1c' is not allowed.*Did you mean '1f1b'"),
        (("1f1b", 0, 8), "pp=0: use a whole number of 1 or more"),
        (("1f1b", 4, 2.5), "num_microbatches=2.5: use a whole number"),
        (("1f1b", 4, 8, 2), "virtual_pp=2: schedule='1f1b' has 1 model chunk"),
        (("zbv", 4, 8, 3), "virtual_pp=3: schedule='zbv' has 2 model chunks"),
        (("interleaved_1f1b", 4, 10, 0), "virtual_pp=0: use a whole number"),
        (("interleaved_1f1b", 4, 13, 2), "num_microbatches=13: .* use a multiple of pp=4, e.g. 16"),
        (("zb_h1", 4, 13), "num_microbatches=13: .* use a multiple of pp=4, e.g. 16"),
    ],
)
def test_sizes_that_a_kind_does_not_allow_are_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        pipeline_schedule(*arguments)


def test_an_order_in_which_ranks_wait_for_each_other_is_refused_and_says_who_waits():
    first = [Action("F", 0, 0), Action("B", 0, 0), Action("F", 0, 1), Action("B", 0, 1)]
    last = [Action("F", 1, 0), Action("F", 1, 1), Action("B", 1, 0), Action("B", 1, 1)]
    message = (
        "order: a deadlock, 2 of 2 ranks wait forever: rank 0 at 0B0 for 1B0; rank 1 at 1F1 for 0F1"
    )
    with pytest.raises(ParameterError, match=message):
        simulate(Schedule((tuple(first), tuple(last))), forward=1, backward=2)


def test_an_order_that_leaves_a_pass_out_is_a_deadlock():
    first = (Action("F", 0, 0), Action("B", 0, 0))
    with pytest.raises(ParameterError, match="1 of 2 ranks wait forever: rank 0 at 0B0 for 1B0"):
        simulate(Schedule((first, (Action("F", 1, 0),))), forward=1, backward=2)


def test_an_order_of_nothing_or_of_unknown_actions_is_refused():
    with pytest.raises(ParameterError, match="order: no actions; use actions of the kinds F, B"):
        Schedule(())
    with pytest.raises(ParameterError, match="order: 'X'; use actions of the kinds F, B, I, W"):
        Schedule(((Action("X", 0, 0),),))
