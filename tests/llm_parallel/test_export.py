"""Strategies for other programs: round trips, files their own parsers read, refusals in a line."""

from __future__ import annotations

import json
import logging
import subprocess
import tomllib

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.export import (
    from_megatron_args,
    sbatch_script,
    to_deepspeed,
    to_megatron_args,
    to_torchtitan_toml,
    write_export,
)
from labkit.llm_parallel.export_megatron import GRADIENT_FLAGS
from labkit.llm_parallel.export_torchtitan import SCHEDULE_CLASSES
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.rules import legality
from labkit.llm_parallel.system import Link
from labkit.llm_parallel.systems import system_preset

SMALL = ModelConfig(num_layers=24, hidden_size=1024, num_attention_heads=16)
PLAIN = ParallelConfig(tp=2, pp=4, dp=2, global_batch_size=32)
AUTHORS = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640, recompute="full")


def random_model(random: np.random.Generator) -> ModelConfig:
    heads = int(random.choice([8, 16, 32]))
    gated = bool(random.integers(2))
    return ModelConfig(
        num_layers=int(random.choice([22, 24, 46, 48])),
        hidden_size=heads * int(random.choice([64, 128])),
        num_attention_heads=heads,
        seq_length=int(random.choice([1024, 2048])),
        vocab_size=int(random.choice([32000, 51200, 128256])),
        num_query_groups=random.choice([None, 8]),
        ffn_hidden_size=int(random.choice([4096, 11008])) if gated else None,
        gated_mlp=gated,
        tie_embeddings=bool(random.integers(2)),
        normalization=str(random.choice(["layernorm", "rmsnorm"])),
        position=str(random.choice(["learned", "rope"])),
        bias=bool(random.integers(2)),
        dropout=float(random.choice([0.0, 0.1, 0.25])),
    )


def random_strategy(random: np.random.Generator) -> ParallelConfig:
    tp, pp, dp = (int(random.choice(sizes)) for sizes in ([1, 2, 4, 8], [1, 2, 4, 6], [1, 2, 3]))
    virtual = pp > 1 and bool(random.integers(2))
    micro, rounds = int(random.choice([1, 2, 4])), int(random.choice([1, 3]))
    dtypes = list(GRADIENT_FLAGS)[random.integers(len(GRADIENT_FLAGS))]
    flash = bool(random.integers(2))
    return ParallelConfig(
        tp=tp,
        cp=int(random.choice([1, 2])),
        pp=pp,
        dp=dp,
        virtual_pp=2 if virtual else 1,
        micro_batch_size=micro,
        global_batch_size=micro * dp * pp * rounds,
        zero_stage=int(random.integers(4)),
        sequence_parallel=tp > 1 and bool(random.integers(2)),
        recompute=str(random.choice(["none", "full"] if flash else ["none", "selective", "full"])),
        schedule="interleaved_1f1b" if virtual else "1f1b",
        flash_attention=flash,
        param_dtype=dtypes[0],
        grad_dtype=dtypes[1],
        overlap_grad_reduce=bool(random.integers(2)),
        rank_order=str(random.choice(["tp-cp-dp-pp", "tp-cp-pp-dp"])),
        count_embeddings_as_layers=bool(random.integers(2)),
    )


def random_pairs(n: int, seed: int) -> list[tuple[ModelConfig, ParallelConfig]]:
    random = np.random.default_rng(seed)
    pairs: list[tuple[ModelConfig, ParallelConfig]] = []
    while len(pairs) < n:
        model, strategy = random_model(random), random_strategy(random)
        if legality(model, ParallelColumns.of(strategy))[0] < 0:
            pairs.append((model, strategy))
    return pairs


def test_megatron_arguments_say_all_of_200_random_models_and_strategies():
    seen = set()
    for model, strategy in random_pairs(200, seed=0):
        arguments = to_megatron_args(model, strategy)
        assert from_megatron_args(arguments, n_devices=strategy.n_devices) == (model, strategy)
        seen.add(tuple(word for word in arguments if word.startswith("--")))
    assert len(seen) > 100  # they do differ


@pytest.mark.parametrize("name", ["gpt-175b", "megatron-530b", "llama-3-70b"])
def test_models_by_name_survive_the_round_trip_but_for_their_name(name):
    model = model_preset(name)
    strategy = ParallelConfig(tp=8, pp=5, dp=2, global_batch_size=40)
    strategy = strategy.replace(pp=4) if model.num_layers % 5 else strategy
    back, _ = from_megatron_args(to_megatron_args(model, strategy), n_devices=strategy.n_devices)
    assert back == model.replace(name="custom")


def test_the_authors_175b_run_is_described_by_the_options_megatron_documents():
    arguments = " ".join(to_megatron_args(model_preset("gpt-175b"), AUTHORS))
    for words in (
        "--num-layers 96 --hidden-size 12288 --num-attention-heads 96 --seq-length 2048",
        "--tensor-model-parallel-size 4",
        "--pipeline-model-parallel-size 16 --micro-batch-size 1 --global-batch-size 640",
        "--use-distributed-optimizer",
        "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1",
        "--attention-backend flash --bf16",
    ):
        assert words in arguments


def test_older_and_foreign_spellings_are_understood(caplog):
    words = """--num-layers 24 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048
        --vocab-size 50257 --micro-batch-size 2 --global-batch-size 32
        --tensor-model-parallel-size 2 --pipeline-model-parallel-size 4
        --num-layers-per-virtual-pipeline-stage 3 --recompute-activations --swiglu
        --attention-backend unfused --fp16 --lr 1e-4 --data-path corpus"""
    with caplog.at_level(logging.INFO):
        model, strategy = from_megatron_args(words.split(), n_devices=16)
    assert model.vocab_size == 50432  # the next multiple of 128 * tp
    assert model.ffn_size == 2688  # Megatron-LM: 8 h / 3, down to a multiple of 64
    assert (strategy.dp, strategy.virtual_pp, strategy.schedule) == (2, 2, "interleaved_1f1b")
    assert (strategy.recompute, strategy.grad_dtype) == ("selective", "float16")
    assert "--lr 1e-4 --data-path corpus" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", "following arguments are required: --num-layers"),
        ("--num-layers twelve", "--num-layers: use a whole number of 1 or more, not 'twelve'"),
        ("--tensor-model-parallel-size 0", "use a whole number of 1 or more, not '0'"),
        ("--recompute-granularity some", "invalid choice: 'some'"),
        ("--attention-dropout 0.1 --hidden-dropout 0", "differ; a model has one dropout"),
        ("--tensor-model-parallel-size 3", r"n_devices=16 is no multiple of tp \* cp \* pp = 3"),
        ("--account-for-loss-in-pipeline-split", "give both or neither"),
    ],
)
def test_arguments_that_describe_no_strategy_are_refused(change, message):
    arguments = [*to_megatron_args(SMALL, PLAIN), *change.split()] if change else []
    with pytest.raises(ParameterError, match=message):
        from_megatron_args(arguments, n_devices=16)


def test_a_vocabulary_that_only_the_tokenizer_knows_is_asked_for():
    arguments = to_megatron_args(SMALL, PLAIN)
    for name in ("--vocab-size", "--padded-vocab-size"):
        place = arguments.index(name)
        del arguments[place : place + 2]
    with pytest.raises(ParameterError, match="the tokenizer alone knows them"):
        from_megatron_args(arguments, n_devices=16)


REFUSALS = [
    (to_megatron_args, {"schedule": "gpipe"}, "schedule='gpipe': Megatron-LM runs 1f1b"),
    (to_megatron_args, {"param_dtype": "float64"}, "param_dtype='float64'.*Megatron-LM has"),
    (to_megatron_args, {"grad_dtype": "float16"}, "grad_dtype='float16'.*Megatron-LM has"),
    (to_deepspeed, {"zero_stage": 2}, "zero_stage=2: .* use zero_stage=1 or pp=1, not pp=4"),
    (to_deepspeed, {"schedule": "zb_h1"}, "schedule='zb_h1': DeepSpeed's pipeline runs 1f1b"),
    (to_deepspeed, {"cp": 2}, "cp=2: DeepSpeed has no context parallelism"),
    (to_deepspeed, {"rank_order": "tp-cp-pp-dp"}, "rank_order='tp-cp-pp-dp': DeepSpeed orders"),
    (to_deepspeed, {"grad_dtype": "float16"}, "grad_dtype='float16': with param_dtype='bfloat16'"),
    (to_deepspeed, {"zero_stage": 0}, "and zero_stage=0 DeepSpeed keeps gradients in bfloat16"),
    (to_deepspeed, {"param_dtype": "float64"}, "param_dtype='float64': DeepSpeed has bfloat16"),
    (to_torchtitan_toml, {"zero_stage": 1}, "zero_stage=1: torchtitan .* use 2 or 3"),
    (to_torchtitan_toml, {"zero_stage": 0}, "zero_stage=0: .* use 2 or 3"),
    (to_torchtitan_toml, {"sequence_parallel": False}, "sequence_parallel=False: torchtitan"),
    (to_torchtitan_toml, {"flash_attention": False}, "flash_attention=False: torchtitan"),
    (to_torchtitan_toml, {"param_dtype": "float16"}, "param_dtype='float16': torchtitan has"),
    (to_torchtitan_toml, {"grad_dtype": "bfloat16"}, "grad_dtype='bfloat16': torchtitan reduces"),
    (to_torchtitan_toml, {"rank_order": "tp-cp-pp-dp"}, "rank_order='tp-cp-pp-dp': torchtitan"),
    (to_torchtitan_toml, {"schedule": "zb_h1"}, "virtual_pp=1: torchtitan's schedule='zb_h1'"),
    (to_megatron_args, {"tp": 5}, "tp=5 does not divide num_attention_heads=16"),
    (to_deepspeed, {"pp": 5}, "pp=5 does not divide num_layers=24"),
    (to_torchtitan_toml, {"cp": 3}, "cp=3 does not divide seq_length=2048"),
]


@pytest.mark.parametrize(("export", "change", "message"), REFUSALS)
def test_what_a_format_cannot_say_is_refused_in_one_line(export, change, message):
    base = PLAIN
    if export is to_torchtitan_toml:
        base = PLAIN.replace(zero_stage=3, sequence_parallel=True)
    with pytest.raises(ParameterError, match=message) as error:
        export(SMALL, base.replace(**change))
    assert "\n" not in str(error.value)


def test_megatron_refuses_pieces_of_a_sequence_that_do_not_come_out_even():
    odd = SMALL.replace(seq_length=1022)
    with pytest.raises(ParameterError, match="cuts a sequence into 2 \\* cp pieces"):
        to_megatron_args(odd, ParallelConfig(cp=2))


def test_deepspeed_numbers_multiply_to_the_global_batch():
    for model, strategy in random_pairs(200, seed=1):
        try:
            config = to_deepspeed(model, strategy)
        except ParameterError:
            continue
        micro, steps = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"
        assert config[micro] * config[steps] * strategy.dp == config["train_batch_size"]
        assert config["zero_optimization"]["stage"] == strategy.zero_stage
        assert {"bf16", "fp16"} & set(config) == (
            {{"bfloat16": "bf16", "float16": "fp16"}[strategy.param_dtype]}
            if strategy.param_dtype != "float32"
            else set()
        )
        assert json.loads(json.dumps(config)) == config


def test_deepspeed_lists_what_the_training_script_must_be_told():
    config = to_deepspeed(SMALL, PLAIN.replace(recompute="full", sequence_parallel=True))
    told = "; ".join(config["comment"])
    for words in (
        "tp=2: --tensor-model-parallel-size 2",
        "pp=4: --pipeline-model-parallel-size 4",
        "recompute='full': --checkpoint-activations",
        "sequence_parallel=True: --sequence-parallel",
        "16 devices, dp=2",
    ):
        assert words in told


TITAN = {
    "data_parallel_replicate_degree",
    "data_parallel_shard_degree",
    "fsdp_reshard_after_forward",
    "tensor_parallel_degree",
    "context_parallel_degree",
    "pipeline_parallel_degree",
    "pipeline_parallel_schedule",
    "pipeline_parallel_microbatch_size",
    "pipeline_parallel_layers_per_stage",
    "pipeline_parallel_first_stage_less_layers",
    "pipeline_parallel_last_stage_less_layers",
}
"""Fields of [parallelism] in torchtitan 0.2.2 that a strategy sets."""


def test_torchtitan_files_parse_and_use_all_devices_and_sequences():
    written = 0
    for model, strategy in random_pairs(400, seed=2):
        try:
            text = to_torchtitan_toml(model, strategy)
        except ParameterError:
            continue
        written += 1
        read = tomllib.loads(text)
        assert set(read) == {"job", "model", "training", "parallelism", "activation_checkpoint"}
        degrees = read["parallelism"]
        assert set(degrees) <= TITAN
        sizes = [value for name, value in degrees.items() if name.endswith("_degree")]
        assert np.prod(sizes) == strategy.n_devices
        local = read["training"]["local_batch_size"]
        assert read["training"]["global_batch_size"] % (local * strategy.dp) == 0
        if strategy.pp > 1:
            layers = degrees["pipeline_parallel_layers_per_stage"]
            first, last = (
                degrees[f"pipeline_parallel_{end}_stage_less_layers"] for end in ("first", "last")
            )
            chunks = strategy.pp * strategy.virtual_pp
            assert layers * chunks == model.num_layers + first + last
            assert local == strategy.micro_batch_size * strategy.num_microbatches
    assert written >= 10


def test_torchtitan_schedules_are_names_that_torch_knows():
    from torch.distributed.pipelining.schedules import get_schedule_class

    for name in SCHEDULE_CLASSES.values():
        assert get_schedule_class(name).__name__ == f"Schedule{name}"


def test_torchtitan_knows_llama_and_gets_other_shapes_as_comments():
    strategy = ParallelConfig(dp=8, zero_stage=3, global_batch_size=8)
    llama = to_torchtitan_toml(model_preset("llama-3-8b", seq_length=4096), strategy)
    assert tomllib.loads(llama)["model"] == {"name": "llama3", "flavor": "8B"}
    assert "register a flavor" not in llama
    wider = model_preset("llama-3-8b", hidden_size=8192)
    text = to_torchtitan_toml(wider, strategy)
    assert tomllib.loads(text)["model"]["flavor"] == "llama-3-8b"
    assert "hidden_size=8192" not in tomllib.loads(text)
    assert "hidden_size=8192" in text
    odd = to_torchtitan_toml(SMALL.replace(name='a "b"\n\\c'), strategy)
    assert tomllib.loads(odd)["model"]["flavor"] == 'a "b"\n\\c'


def checked_by_bash(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_batch_scripts_are_valid_shell_and_start_every_rank():
    script = sbatch_script(
        model_preset("gpt-175b").replace(name="GPT 175B; rm -rf /\nx"),
        AUTHORS,
        system=system_preset("frontier"),
        time="02:00:00",
        partition="batch",
        account="abc123",
        sbatch_arguments=["--constraint=nvme"],
    )
    checked_by_bash(script)
    lines = script.splitlines()
    assert lines[1] == (
        "# GPT 175B; rm -rf / x, TP4 PP16 DP2 b1 ZeRO-1 full: 128 devices of frontier"
    )
    for line in (
        "#SBATCH --nodes=16",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=02:00:00",
        "#SBATCH --account=abc123",
        "#SBATCH --constraint=nvme",
        "export CUDA_DEVICE_MAX_CONNECTIONS=1",
    ):
        assert line in lines
    assert "--nnodes=16 --nproc-per-node=8" in lines[-1]
    assert lines[-1].endswith(" ".join(to_megatron_args(model_preset("gpt-175b"), AUTHORS)))


def test_weights_that_megatron_shares_out_itself_get_more_than_one_queue():
    system = system_preset("dgx-h100")
    for zero_stage, wanted in ((1, True), (3, False)):
        script = sbatch_script(SMALL, PLAIN.replace(zero_stage=zero_stage), system=system)
        assert ("CUDA_DEVICE_MAX_CONNECTIONS" in script) is wanted


def test_labkits_own_trainer_runs_from_the_same_script():
    script = sbatch_script(
        SMALL,
        PLAIN,
        system=system_preset("frontier"),
        module="labkit.llm_parallel.runtime.train",
        arguments=["--job", "a job.json"],
    )
    checked_by_bash(script)
    assert script.endswith("-m labkit.llm_parallel.runtime.train --job 'a job.json'\n")
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in script


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"dp": 3, "global_batch_size": 48}, {}, r"dp=3: .* = 24 devices do not fill .* use 16 or"),
        ({"dp": 4096, "global_batch_size": 4096}, {}, "32768 devices, but selene-a100 has"),
        ({}, {"time": "two hours"}, "time='two hours'"),
        ({}, {"module": "train"}, "arguments=None: module='train' needs its own"),
    ],
)
def test_jobs_that_a_machine_cannot_run_are_refused(change, options, message):
    system = system_preset("selene-a100")
    if "fill" in message:
        system = system.replace(node_size=16, links=(Link(16, system.links[-1].bandwidth),))
    with pytest.raises(ParameterError, match=message):
        sbatch_script(SMALL, PLAIN.replace(**change), system=system, **options)


def test_all_formats_are_written_and_the_others_say_why_not(tmp_path):
    folder = tmp_path / "new" / "export"
    system = system_preset("frontier")
    model = model_preset("gpt-175b")
    first = write_export(folder, model, AUTHORS, system=system)
    assert set(first.files) == {"megatron.txt", "deepspeed.json", "job.sbatch"}
    assert set(first.refused) == {"torchtitan.toml"}
    words = first.files["megatron.txt"].read_text().split()
    assert from_megatron_args(words, n_devices=128)[1] == AUTHORS
    assert json.loads(first.files["deepspeed.json"].read_text())["train_batch_size"] == 640
    checked_by_bash(first.files["job.sbatch"].read_text())
    titan = AUTHORS.replace(zero_stage=3, sequence_parallel=True)
    second = write_export(folder, model, titan, system=system)
    assert {path.name for path in folder.iterdir()} == set(second.files)
    assert set(second.refused) == {"deepspeed.json"}
    assert tomllib.loads(second.files["torchtitan.toml"].read_text())["activation_checkpoint"] == {
        "mode": "full"
    }


def test_an_illegal_strategy_writes_nothing(tmp_path):
    with pytest.raises(ParameterError, match="tp=5 does not divide"):
        write_export(tmp_path / "x", SMALL, PLAIN.replace(tp=5), system=system_preset("frontier"))
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"folder=.* is a file"):
        write_export(tmp_path / "file", SMALL, PLAIN, system=system_preset("frontier"))
