"""Compare the functions that compat/ is about in the three fairseqs that we support.

    .venv/bin/python tests/campaigns/versions/versions.py *fairseq*.tar.gz *fairseq*.whl

for PyPI's archives of fairseq 0.12.2, ve-fairseq 0.12.3 and fairseq-fixed 0.12.3.1. Parses their sources,
runs none, and tells for each function in which of them it is not that of the installed fairseq: what a change
replaces, and what has the fault where that is another (ELSEWHERE). Comments and layout do not count. Writes
versions.json beside this file, with what a reader found in those that differ (LOOKED);
tests/compat/test_compat_versions.py holds against it which versions a repair declares. A few seconds.
"""

import argparse
import ast
import functools
import json
import re
import tarfile
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import fairseq

import mega_fairseq  # noqa: F401  (registers the changes)
from mega_fairseq.compat import registry

HERE = Path(__file__).parent
ELSEWHERE = {
    "align_for_unknown_words": ["fairseq_cli.generate._main", "fairseq.utils.post_process_prediction"],
    "allow_what_fairseq_writes": [
        "fairseq.trainer.Trainer.state_dict",
        "fairseq.distributed.utils._TensorPlaceholder",
        "fairseq.checkpoint_utils.load_checkpoint_to_cpu",
    ],
    "check_what_is_loaded": ["fairseq.checkpoint_utils.load_checkpoint_to_cpu"],
    "check_indexed_data": ["fairseq.data.indexed_dataset.MMapIndexedDataset"],
    "check_texts_first": ["fairseq_cli.preprocess.main"],
    "copy_unknown_words": ["fairseq.dataclass.configs.GenerationConfig"],
    "evaluate_in_shards": ["fairseq_cli.eval_lm.main"],
    "find_the_end": [
        "fairseq_cli.train.main",
        "fairseq_cli.train.train",
        "fairseq_cli.train.validate_and_save",
    ],
    "import_once": ["fairseq.models.register_model", "fairseq.models.register_model_architecture"],
    "keep_the_arguments": [
        "fairseq.tasks.translation_from_pretrained_bart.TranslationFromPretrainedBARTTask",
        "fairseq.tasks.translation.TranslationTask.__init__",
    ],
    "know_the_best": ["fairseq_cli.train.validate_and_save", "fairseq_cli.train.get_valid_stats"],
    "match_adaptive_softmax": ["fairseq.criterions.adaptive_loss.AdaptiveLoss"],
    "measure_validation_data_first": ["fairseq_cli.train.main"],
    "name_the_dictionary": ["fairseq.data.dictionary.Dictionary.add_from_file"],
    "need_weights_above_zero": [
        "fairseq.criterions.label_smoothed_cross_entropy_with_alignment"
        ".LabelSmoothedCrossEntropyCriterionWithAlignment"
    ],
    "obey_num_shards": ["fairseq_cli.generate._main"],
    "read_any_bytes": ["fairseq_cli.interactive.buffered_read", "fairseq_cli.interactive.main"],
    "read_literals_only": ["fairseq.utils.eval_str_list", "fairseq.optim.adam.FairseqAdam"],
    "restore_numpy_names": [
        "fairseq.data.data_utils.get_buckets",
        "fairseq.data.data_utils.compute_mask_indices",
        "fairseq.data.language_pair_dataset.LanguagePairDataset",
        "fairseq.data.token_block_dataset.TokenBlockDataset",
    ],
    "restore_the_patience": ["fairseq_cli.train.should_stop_early"],
    "save_the_patience": ["fairseq_cli.train.should_stop_early"],
    "split_an_ensemble": ["fairseq_cli.eval_lm.main"],
    "validate_nothing": ["fairseq_cli.validate.main"],
    "write_whole": ["fairseq.checkpoint_utils._torch_persistent_save"],
}
LOOKED = {
    "build_for_sharding": "0.12.2 takes one more class from fairscale",
    "check_indexed_data": "later versions may reuse the batches; they read alike",
    "copy_unknown_words": "later versions have more options, replace_unk is the same",
    "end_the_curriculum": "0.12.2 has the sampler under another name, and reuses it alike",
    "explain_other_models": "later versions hand more to tasks",
    "find_the_end": "later versions tell the task, and read the validation data once before they begin",
    "import_once": "of a second model of one name later versions keep the first, 0.12.2 stops; all stop at a "
    "second architecture",
    "know_the_best": "later versions tell the task when a checkpoint is written, after the fault",
    "measure_validation_data_first": "later versions read the validation data before they begin; what one "
    "side lacks is met later in all",
    "name_the_dictionary": "later versions may leave out the special symbols",
    "obey_torchrun": "0.12.2 obeys torchrun; its backend without a GPU is nccl as well",
    "read_prompts_at_once": "later versions take lengths that the sample has",
    "restore_numpy_names": "later versions draw masks in more ways; np.int is in both",
    "split_an_ensemble": "what differs in load_model_ensemble_and_task hands more to tasks",
    "write_whole": "later versions wait before they try again",
}


def texts(archive):
    """path -> text of fairseq's files in an archive, or in a folder that has them."""
    if archive.is_dir():
        files = (file for room in ("fairseq", "fairseq_cli") for file in (archive / room).rglob("*.py"))
        return {str(file.relative_to(archive)): file.read_text() for file in files}
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".py")}
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and member.name.endswith(".py")]
        return {member.name.partition("/")[2]: tar.extractfile(member).read().decode() for member in members}


def finder(archive):
    """A function from a place to its source without comments and layout; None where the archive lacks it."""
    files = texts(archive)
    tree = functools.cache(lambda path: ast.parse(files[path]))

    def source(place):
        parts = place.split(".")
        for cut in range(len(parts), 0, -1):
            folder = "/".join(parts[:cut])
            path = f"{folder}.py" if f"{folder}.py" in files else f"{folder}/__init__.py"
            if path in files:
                break
        node = tree(path)
        for part in parts[cut:]:
            node = next((child for child in node.body if getattr(child, "name", None) == part), None)
            if node is None:
                return None
        return ast.unparse(node)

    return source


def compared(archives):
    """name of a change -> place that it is about -> versions in which that is not the installed fairseq's."""
    installed = finder(Path(fairseq.__file__).parents[1])
    found = {re.search(r"-(\d+(?:\.\d+)+)[-.]", path.name)[1]: finder(path) for path in archives}
    if sorted(found) != sorted(registry.ALL):
        raise SystemExit(f"give the archives of fairseq {', '.join(registry.ALL)}; got {', '.join(found)}")
    changes = {}
    for name, change in sorted(registry.known.items()):
        places = [*(change.places if change.targets else []), *ELSEWHERE.get(name, [])]
        if change.kind != "process":
            assert all(map(installed, places)), places
            changes[name] = {
                place: [version for version in registry.ALL if found[version](place) != installed(place)]
                for place in places
            }
    return changes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archives", nargs="+", type=Path, help="sdists and wheels of the three fairseqs")
    parser.add_argument("--out", type=Path, default=HERE / "versions.json")
    arguments = parser.parse_args()
    own = distribution(packages_distributions()["fairseq"][0])
    result = {
        "installed": own.version,
        "archives": sorted(path.name for path in arguments.archives),
        "looked": LOOKED,
        "changes": compared(arguments.archives),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
