"""Tasks and criteria of the contract: each of fairseq's has a row, or is of models of its own."""

from rows import Row

MASKED = "--mask 0.3 --mask-random 0.1 --insert 0.1 --rotate 0.2 --permute-sentences 1 --poisson-lambda 3 "
MASKED += "--replace-length 1 --tokens-per-sample 40 --sample-break-mode complete"
SEVERAL = "--task translation_multi_simple_epoch --langs en,de --lang-pairs en-de,de-en"
BACK = "--task online_backtranslation --mono-langs en,de --valid-lang-pairs en-de"
CONTROLLED = "--langs en,de -s en -t de --task translation_from_pretrained_bart"

# Kind of model, folder of the data, rows. The model's own task is the base.
TASKS = [
    ("nmt", "nmt", [Row("--task translation", still="it is the base")]),
    ("nmt", "nmt", [Row(CONTROLLED), Row(f"{CONTROLLED} --prepend-bos")]),
    (
        "nmt",
        "nmt",
        [
            Row("--task translation_lev --noise random_delete"),
            Row("--task translation_lev --noise full_mask"),
        ],
    ),
    ("nmt", "nmt", [Row("--task translation_lev --criterion nat_loss", stops="Error")]),
    ("nmt", "nmt", [Row("--task translation_from_pretrained_xlm", stops="MaskedLMDictionary.__init__()")]),
    ("nmt", "nmt", [Row("--task simul_text_to_text", stops="examples.simultaneous_translation")]),
    ("nmt", "many", [Row(SEVERAL), Row(f"{SEVERAL} --encoder-langtok src --sampling-method temperature")]),
    ("nmt", "many", [Row(f"{SEVERAL} --encoder-langtok tgt --decoder-langtok --lang-tok-replacing-bos-eos")]),
    ("nmt", "many", [Row(f"{SEVERAL} --enable-lang-ids", stops="src_lang_id")]),
    (
        "nmt",
        "many",
        [Row(f"{BACK} --share-all-embeddings"), Row(f"{BACK} --generate-one-by-one --lambda-dae 0.5")],
    ),
    (
        "nmt",
        "many",
        [Row("--task multilingual_translation --lang-pairs en-de,de-en", stops="FairseqMultiModel")],
    ),
    ("nmt", "many", [Row("--task semisupervised_translation --lang-pairs en-de", stops="FairseqMultiModel")]),
    (
        "nmt",
        "lm",
        [Row(f"--task denoising {MASKED}"), Row(f"--task denoising --mask-length span-poisson {MASKED}")],
    ),
    ("nmt", "many", [Row(f"--task multilingual_denoising --langs en,de --add-lang-token {MASKED}")]),
    ("lm", "lm", [Row("--task language_modeling", still="it is the base")]),
    (
        "lm",
        "many",
        [Row("--task multilingual_language_modeling --langs en,fr --multilang-sampling-alpha 0.5")],
    ),
    ("lm", "lm", [Row("--task span_masked_lm --tokens-per-sample 40", stops="prev_output_tokens")]),
    (
        "lm",
        "many",
        [Row(f"--task {task}", stops="Interpolation") for task in ("masked_lm", "multilingual_masked_lm")],
    ),
    (
        "lm",
        "many",
        [Row(f"--task {task}", stops="Interpolation") for task in ("legacy_masked_lm", "cross_lingual_lm")],
    ),
    # They make their data up.
    ("nmt", None, [Row("--task dummy_mt --dict-size 50 --dataset-size 40 --src-len 6 --tgt-len 5")]),
    ("lm", None, [Row("--task dummy_lm --dict-size 50 --dataset-size 40 --tokens-per-sample 10")]),
    ("lm", None, [Row("--task dummy_masked_lm --dict-size 50 --dataset-size 40 --tokens-per-sample 10")]),
]
# Tasks of models of their own, which take sound, units of sound, or a head on an encoder.
OWN = {
    *(
        "audio_classification",
        "audio_finetuning",
        "audio_pretraining",
        "frm_text_to_speech",
        "nlu_finetuning",
    ),
    *("hubert_pretraining", "multires_hubert_pretraining", "simul_speech_to_text", "speech_dlm_task"),
    *("speech_to_speech", "speech_to_text", "speech_unit_modeling", "text_to_speech"),
    *("sentence_prediction", "sentence_prediction_adapters", "sentence_ranking"),
}
# Criteria, and what those say that do not go with translation and language models.
CRITERIA = {
    "cross_entropy": "",
    "label_smoothed_cross_entropy": "",
    "label_smoothed_cross_entropy_with_alignment": "",
    "label_smoothed_cross_entropy_with_rdrop": "",
    "mega_cross_entropy": "",
    "adaptive_loss --adaptive-softmax-cutoff 8,16 --ddp-backend legacy_ddp": "",
    "composite_loss --underlying-criterion cross_entropy": "",
    "ctc": "input_lengths must be of size batch_size",
    "fastspeech2": "target_lengths",
    "hubert": "target_list",
    "label_smoothed_cross_entropy_with_ctc": "get_ctc_output",
    "latency_augmented_label_smoothed_cross_entropy": "SimulEval",
    "legacy_masked_lm_loss": "lm_target",
    "masked_lm": "masked_tokens",
    "model": "Could not retrieve losses",
    "nat_loss": "prev_target",
    "sentence_prediction": "label_dictionary",
    "sentence_prediction_adapters": "label_dictionary",
    "sentence_ranking": "please implement SentenceRankingCriterion.build_criterion",
    "speech_dlm_criterion": "channels",
    "speech_to_spectrogram": "multitask_tasks",
    "speech_to_spectrogram_2pass": "multitask_tasks",
    "speech_to_unit": "multitask_tasks",
    "speech_to_unit_2pass": "multitask_tasks",
    "speech_unit_lm_criterion": "tuple indices must be integers or slices",
    "tacotron2": "not enough values to unpack",
    "vocab_parallel_cross_entropy": "fairseq/model_parallel/megatron",
    "wav2vec": "get_logits",
}
