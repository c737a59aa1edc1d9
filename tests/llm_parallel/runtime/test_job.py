"""Jobs are files that read back as they were, and are refused in one line before anything runs."""

from __future__ import annotations

import json

import pytest

from labkit.errors import MissingDataError, ParameterError
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.runtime.job import Job, read_job, require_ready

MODEL = model_preset("gpt-tiny", num_layers=4)


def _job(**changes):
    values = {"model": MODEL, "parallel": ParallelConfig(global_batch_size=8), **changes}
    return Job(**values)


def _strategy(**changes):
    return {"parallel": ParallelConfig(**{"global_batch_size": 8, **changes})}


def test_a_job_reads_back_from_its_file(tmp_path):
    job = _job(steps=3, learning_rate=0.01, out=str(tmp_path), count_collectives=True)
    assert read_job(job.write(tmp_path / "new" / "job.json")) == job


def test_the_model_may_be_a_preset_by_name():
    values = {"model": "gpt-tiny", "parallel": {"tp": 2}, "steps": 1}
    assert Job.from_mapping(values).model == model_preset("gpt-tiny")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": None}, "out=None: use a path as text"),
        ({"out": ""}, "out='': use a path as text"),
        ({"data": 5}, "data=5: use a path as text"),
        ({"seed": 2**70}, "use a whole number from 0 to 2147483647"),
        ({"compare_single": "yes"}, "compare_single='yes': use True or False"),
        ({"steps": 0}, "steps=0"),
        ({"seed": -1}, "seed=-1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"count_collectives": 1}, "count_collectives=1"),
        (_strategy(tp=3), "tp=3 does not divide num_attention_heads=4; use 2 or 4"),
        (_strategy(cp=2), "cp=2: only the cost model knows it; run with cp=1"),
        (_strategy(param_dtype="float16"), "param_dtype='float16'.*use 'bfloat16'"),
        (_strategy(grad_dtype="float16"), "grad_dtype='float16'"),
        (_strategy(pp=2, zero_stage=2), "zero_stage=2 with pp=2.*use zero_stage=0 or 1"),
        (_strategy(pp=4, micro_batch_size=4), "makes 2 micro-batches.*global_batch_size=16"),
        (
            _strategy(pp=2, schedule="zb_h1", global_batch_size=5),
            "pp=2 divides, not 5; use global_batch_size=6",
        ),
        ({"model": MODEL.replace(vocab_size=128)}, "vocab_size=128.*use 256 or more"),
        (
            {"model": MODEL.replace(position="rope", hidden_size=12)},
            "hidden_size / num_attention_heads = 3 must be even",
        ),
    ],
)
def test_a_job_that_cannot_run_is_refused_by_name(changes, said):
    with pytest.raises(ParameterError, match=said):
        _job(**changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is no JSON"),
        ("[1]", "a job is a JSON object"),
        ("{}", "model=None"),
        ('{"model": "gpt-tiny"}', "parallel=None"),
        ('{"model": "gpt-tiny", "parallel": {}, "stesp": 3}', "Did you mean 'steps'"),
        ('{"model": "gpt-tiny", "parallel": {"tpp": 3}}', "Did you mean 'tp'"),
        ('{"model": "gpt-tine", "parallel": {}}', "Did you mean 'gpt-tiny'"),
    ],
)
def test_a_file_that_is_no_job_is_refused_in_one_line(text, said, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match=said) as caught:
        read_job(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"none\.json.*cannot be read: No such file"):
        read_job(tmp_path / "none.json")


def test_processes_text_and_folder_must_be_there(tmp_path):
    ready = {"out": str(tmp_path)}
    require_ready(_job(**ready), n_processes=1)
    with pytest.raises(ParameterError, match="= 1, but there are 4 processes"):
        require_ready(_job(**ready), n_processes=4)
    with pytest.raises(MissingDataError, match=r"data='.*nowhere' is no file"):
        require_ready(_job(data=str(tmp_path / "nowhere"), **ready), n_processes=1)
    short = tmp_path / "short"
    short.write_bytes(b"a" * 64)
    with pytest.raises(ParameterError, match="has 64 bytes; seq_length=64 needs 65 or more"):
        require_ready(_job(data=str(short), **ready), n_processes=1)
    with pytest.raises(ParameterError, match="out="):
        require_ready(_job(out=str(short / "below")), n_processes=1)


def test_importing_jobs_does_not_import_torch(repository):
    import subprocess
    import sys

    code = "import sys, labkit.llm_parallel.runtime.job; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.strip().lower()) is False
