"""The rows of the contract: what the stock transformer and Mega are given, and where their answers differ."""

from typing import NamedTuple

import pytest


class Row(NamedTuple):
    """Arguments of a command. {save}, {folder}, {trained-KIND}: places that frame.py fills in.

    base: arguments before them, and of the run that theirs is compared with. still: why they move nothing
    that is seen here. stops: what both say as they stop. differs: what frame.difference finds between the
    two, separated by commas; why: the reason.
    """

    given: str
    base: str = ""
    still: str = ""
    stops: str = ""
    differs: str = ""
    why: str = ""


ALONE = "for several processes, and here is one"
SUMMED = "the default, or another way to the same sum of gradients"
GPU = "for GPUs"
LOGGING = "it says where to log, or how"
KEPT = "the transformer stops on the list that fairseq makes of it"
BITS = "Mega computes the same bits whichever side is padded"
ROUNDING = "Mega's first gradients are so small that half precision rounds them by the scale of the loss"
SMALL = "the default, or without effect on data as small as here"
PIPELINE = "for the models that fairseq cuts into a pipeline"
LENGTHS = "--rel-pos-bias simple keeps the lengths that it was trained with; rotary takes any"
# Bases
RESUMED = "--restore-file {trained-KIND}/checkpoint_last.pt --max-update 156"
BLEU = "--restore-file {trained-KIND}/checkpoint_last.pt --max-update 152 --eval-bleu"
ADAPTIVE = "--ddp-backend legacy_ddp --adaptive-softmax-cutoff 8,16 --criterion adaptive_loss"
SMOOTHED = "--criterion label_smoothed_cross_entropy"
QUANTISED = "--quant-noise-pq 0.5 --quant-noise-pq-block-size 4"
CHARACTERS = "--character-embeddings"
RDROP = "--criterion label_smoothed_cross_entropy_with_rdrop"
LM = "--lm-path {trained-lm}/checkpoint_last.pt"
ENSEMBLE = "--path {trained-KIND}/checkpoint_last.pt:{trained-KIND}/checkpoint20.pt"

SAMPLED = "--sampling --beam 2 --nbest 2 --seed 2"

# fairseq-train of a translation model: what does not concern the model
TRAIN = [
    Row("--log-interval 2"),
    Row("--log-format simple"),
    Row("--log-format none"),
    Row("--log-format tqdm"),
    Row("--tpu", stops="xla_device"),
    Row("--model-parallel-size 2", stops="fairseq/model_parallel/megatron"),
    Row("--quantization-config-path {folder}/absent.yaml", stops="absent.yaml"),
    Row("--profile", stops="Torch not compiled with CUDA"),
    Row("--use-plasma-view", stops="PlasmaStore"),
    Row("--max-tokens 100"),
    Row("--batch-size 5"),
    Row("--max-sentences 5"),
    Row("--required-batch-size-multiple 4"),
    Row("--required-seq-len-multiple 4"),
    Row("--train-subset valid"),
    Row("--valid-subset test --ignore-unused-valid-subsets"),
    Row("--valid-subset test"),
    Row("--valid-subset valid,test"),
    Row("--validate-interval 2"),
    Row("--validate-interval-updates 2"),
    Row("--validate-after-updates 4"),
    Row("--disable-validation"),
    Row("--max-tokens-valid 30"),
    Row("--batch-size-valid 3"),
    Row("--max-sentences-valid 3"),
    Row("--max-valid-steps 1", "--batch-size-valid 2"),
    Row("--nval 1", "--batch-size-valid 2"),
    Row("--curriculum 1"),
    Row("--grouped-shuffling"),
    Row("--update-epoch-batch-itr True"),
    Row("--update-ordered-indices-seed"),
    Row("--max-epoch 1"),
    Row("--max-update 4"),
    Row("--stop-time-hours 0.0000001"),
    Row("--lr 1e-3"),
    Row("--lr 1e-2,1e-3"),
    Row("--stop-min-lr 0.5"),
    Row("--optimizer nag"),
    Row("--optimizer adagrad"),
    Row("--optimizer adadelta"),
    Row("--optimizer adamax"),
    Row("--optimizer composite", stops="object_type=dict"),
    Row("--optimizer cpu_adam", stops="pip install deepspeed"),
    Row("--optimizer lamb", stops="install apex"),
    Row("--adam-betas (0.9,0.98) --adam-eps 1e-6 --weight-decay 0.1"),
    Row("--fp16-adam-stats", stops="only supported with FusedAdamV1"),
    Row("--lr-scheduler fixed --force-anneal 1 --lr-shrink 0.5"),
    Row("--lr-scheduler inverse_sqrt --warmup-updates 3"),
    Row("--lr-scheduler polynomial_decay --total-num-update 9"),
    Row("--lr-scheduler cosine --warmup-updates 3"),
    Row("--lr-scheduler tri_stage --phase-ratio (0.3,0.3,0.4)"),
    Row("--lr-scheduler triangular --max-lr 1e-1 --lr-period-updates 3"),
    Row("--lr-scheduler step --lr-deacy-period 2"),
    Row("--lr-scheduler pass_through", stops="with their own schedulers"),
    Row("--save-interval 2"),
    Row("--keep-interval-updates 2", "--save-interval-updates 1"),
    Row("--keep-interval-updates-pattern 2", "--save-interval-updates 1 --keep-interval-updates 2"),
    Row("--keep-last-epochs 1"),
    Row("--keep-best-checkpoints 1"),
    Row("--no-save"),
    Row("--no-epoch-checkpoints"),
    Row("--no-last-checkpoints"),
    Row("--best-checkpoint-metric ppl"),
    Row("--maximize-best-checkpoint-metric"),
    Row("--checkpoint-suffix=-x"),
    Row("--write-checkpoints-asynchronously"),
    Row("--save-async"),
    Row("--pipeline-model-parallel", stops="--pipeline-balance is currently required"),
    Row("--zero-sharding os", stops="pip install fairscale"),
    Row("--cpu-offload", stops="requires --ddp-backend=fully_sharded"),
    Row(
        "--no-progress-bar --log-file {folder}/log --tensorboard-logdir {folder}/board --aim-repo "
        "{folder}/aim --aim-run-hash 7 --wandb-project p --azureml-logging --reset-logging "
        "--suppress-crashes --debug-param-names",
        still=LOGGING,
    ),
    Row("--cpu --on-cpu-convert-precision --empty-cache-freq 2", still=GPU),
    Row(
        "--num-workers 1 --data-buffer-size 2 --dataset-impl mmap --combine-valid-subsets --combine-val "
        "--fixed-validation-seed 5 --gen-subset valid --use-old-adam --lr-scheduler manual --scoring "
        "sacrebleu --bpe sentencepiece --tokenizer space --plasma-path {folder}/plasma",
        still=SMALL,
    ),
    Row(
        "--num-shards 2 --shard-id 1 --all-gather-list-size 100 --checkpoint-shard-count 2 "
        "--load-checkpoint-on-all-dp-ranks --distributed-world-size 1 --distributed-num-procs 1 "
        "--distributed-rank 0 --distributed-backend gloo --distributed-port 0 --device-id 0 --local_rank 0 "
        "--distributed-no-spawn --ddp-comm-hook fp16 --bucket-cap-mb 1 --fix-batches-to-gpus "
        "--find-unused-parameters --gradient-as-bucket-view --fast-stat-sync --heartbeat-timeout 100 "
        "--broadcast-buffers --slowmo-base-algorithm sgp --slowmo-momentum 0.1 --localsgd-frequency 2 "
        "--nprocs-per-node 2 --no-reshard-after-forward --fp32-reduce-scatter --use-sharded-state "
        "--not-fsdp-flatten-parameters --ddp-backend slowmo",
        still=ALONE,
    ),
    Row("--ddp-backend fully_sharded", still=ALONE),
    Row("--ddp-backend legacy_ddp", still=ALONE),
    Row(
        "--use-bmuf --global-sync-iter 2 --warmup-iterations 1 --block-momentum 0.1 --block-lr 0.5 "
        "--average-sync --use-nbm",
        still=ALONE,
    ),
    Row(
        "--pipeline-balance [1] --pipeline-devices [0] --pipeline-chunks 1 --pipeline-encoder-balance [1] "
        "--pipeline-encoder-devices [0] --pipeline-decoder-balance [1] --pipeline-decoder-devices [0] "
        "--pipeline-checkpoint always",
        still=PIPELINE,
    ),
    Row("--restore-file absent.pt", still="training begins anew"),
    Row("--continue-once absent.pt", still="training begins anew"),
    Row("--finetune-from-model absent.pt", stops="absent.pt does not exist"),
    Row(
        "--optimizer-overrides lr=1",
        RESUMED,
        stops="SyntaxError",
    ),
]

# fairseq-train of either model
TRAIN_BOTH = [
    Row("--seed 4"),
    Row("--bf16"),
    Row("--memory-efficient-bf16"),
    Row("--fp16"),
    Row("--memory-efficient-fp16"),
    Row("--amp"),
    Row("--clip-norm 0.01"),
    Row("--sentence-avg"),
    Row("--update-freq 2"),
    Row("--skip-remainder-batch", "--update-freq 2"),
    Row("--optimizer sgd --momentum 0.9"),
    Row("--optimizer adafactor"),
    Row("--lr-scheduler reduce_lr_on_plateau --lr-threshold 9 --lr-patience 0"),
    Row("--save-interval-updates 2"),
    Row("--no-save-optimizer-state"),
    Row("--store-ema"),
    Row("--ema-decay 0.5", "--store-ema"),
    Row("--ema-start-update 4", "--store-ema"),
    Row("--ema-fp32", "--store-ema"),
    Row("--ema-seed-model {trained-KIND}/checkpoint_last.pt", "--store-ema", stops="ema"),
    Row("--amp-batch-retries 1 --amp-init-scale 4 --amp-scale-window 2", "--amp", still=GPU),
    Row("--fp16-init-scale 256", "--fp16", differs="parameters", why=ROUNDING),
    Row("--fp16-scale-window 5", "--fp16", differs="parameters", why=ROUNDING),
    Row(
        "--fp16-no-flatten-grads --fp16-scale-tolerance 0.5 --min-loss-scale 0.1 --threshold-loss-scale 1",
        "--fp16",
        still="no gradient overflows here",
    ),
    Row("--ema-update-freq 2", "--store-ema", still="no update more than a multiple of it is made"),
    Row("--patience 1", "--lr 0 --max-update 20"),
    Row(RESUMED),
    Row("--continue-once {trained-KIND}/checkpoint_last.pt --max-update 156"),
    Row("--finetune-from-model {trained-KIND}/checkpoint_last.pt"),
    Row("--reset-optimizer", RESUMED),
    Row("--reset-meters", RESUMED),
    Row("--reset-dataloader", RESUMED),
    Row(
        "--reset-optimizer --reset-dataloader",
        RESUMED,
    ),
    Row("--optimizer-overrides {'weight_decay':0.5}", RESUMED),
    Row(
        "--reset-lr-scheduler",
        RESUMED,
        still="the schedule is fixed",
    ),
    Row(SMOOTHED),
    Row("--label-smoothing 0.1", SMOOTHED),
    Row("--report-accuracy", SMOOTHED),
    Row("--ignore-prefix-size 1", f"{SMOOTHED} --label-smoothing 0.1"),
    Row("--activation-fn gelu"),
    Row("--dropout 0.0"),
    Row("--attention-dropout 0.2"),
    Row("--activation-dropout 0.2"),
    Row("--relu-dropout 0.2"),
    Row("--decoder-normalize-before"),
    Row("--decoder-layerdrop 0.5"),
    Row("--decoder-output-dim 8"),
    Row("--share-decoder-input-output-embed"),
    Row("--no-scale-embedding"),
    Row(
        "--no-token-positional-embeddings",
        differs="parameters, values",
        why="Mega has none; its moving average and --rel-pos-bias tell the order",
    ),
    Row("--layernorm-embedding"),
    Row("--no-decoder-final-norm", "--decoder-normalize-before"),
    Row(QUANTISED),
    Row("--quant-noise-pq-block-size 8", QUANTISED),
    Row("--quant-noise-scalar 0.5"),
    Row("--min-params-to-wrap 10", still=ALONE),
    Row("--decoder-embed-dim 32"),
    Row("--decoder-ffn-embed-dim 24"),
    Row("--decoder-layers 1"),
    Row(ADAPTIVE),
    Row(
        "--adaptive-softmax-dropout 0.5",
        ADAPTIVE,
    ),
    Row(
        "--adaptive-softmax-factor 2",
        ADAPTIVE,
    ),
]

# fairseq-train of a translation model
TRAIN_NMT = [
    Row("--checkpoint-activations"),
    Row("--offload-activations"),
    Row("--decoder-layers-to-keep 0", differs="mega works", why=KEPT),
    Row(
        f"{ADAPTIVE} --tie-adaptive-weights",
        stops="weights",
    ),
    Row("-s de -t en"),
    Row("--source-lang de --target-lang en"),
    Row("--max-source-positions 8", stops="--skip-invalid-size-inputs-valid-test"),
    Row("--max-source-positions 8 --skip-invalid-size-inputs-valid-test"),
    Row("--max-target-positions 8", stops="--skip-invalid-size-inputs-valid-test"),
    Row("--truncate-source --max-source-positions 8 --skip-invalid-size-inputs-valid-test"),
    Row("--max-source-positions 2048", RESUMED, differs="stock works", why=LENGTHS),
    Row("--left-pad-source", differs="parameters, values", why=BITS),
    Row("--left-pad-target", differs="parameters, values", why=BITS),
    Row(
        "--upsample-primary 2 --load-alignments",
        still="it is for a second corpus, or for alignments, and here is none",
    ),
    Row("--num-batch-buckets 2"),
    Row("--eval-bleu"),
    Row(
        '--eval-bleu-args {"max_len_b":2}',
        BLEU,
    ),
    Row(
        "--eval-tokenized-bleu --eval-bleu-remove-bpe --eval-bleu-detok moses "
        '--eval-bleu-detok-args {"target_lang":"en"}',
        BLEU,
        still="the words have no punctuation and no pieces",
    ),
    Row(
        "--eval-bleu-print-samples",
        BLEU,
    ),
    Row(
        "--best-checkpoint-metric bleu --maximize-best-checkpoint-metric",
        BLEU,
    ),
    Row("--encoder-embed-path {folder}/vectors"),
    Row("--decoder-embed-path {folder}/vectors"),
    Row("--share-all-embeddings"),
    Row("--encoder-normalize-before"),
    Row("--encoder-layerdrop 0.5"),
    Row("--encoder-layers-to-keep 1", differs="mega works", why=KEPT),
    Row("--no-cross-attention"),
    Row("--encoder-embed-dim 24"),
    Row("--encoder-ffn-embed-dim 24"),
    Row("--encoder-layers 1"),
    Row(
        "--adaptive-input",
        differs="stock works",
        why="the transformer ignores it; Mega needs --adaptive-input-cutoff",
    ),
    Row(RDROP),
    # Without dropout the divergence is a rounding's, which is shown where it is above zero.
    Row("--rdrop-alpha 5", f"{RDROP} --disable-validation"),
]

# fairseq-train of a translation model in two processes on CPUs
DISTRIBUTED = [
    Row("--ddp-backend pytorch_ddp", still=SUMMED),
    Row("--ddp-backend c10d", still=SUMMED),
    Row("--ddp-backend legacy_ddp", still=SUMMED),
    Row("--ddp-backend no_c10d", still=SUMMED),
    Row("--ddp-backend fully_sharded"),
    Row("--ddp-backend slowmo", stops="pip install fairscale"),
    Row("--zero-sharding os", stops="pip install fairscale"),
    Row("--use-bmuf"),
    Row("--global-sync-iter 2 --warmup-iterations 1 --block-momentum 0.1 --block-lr 0.5", "--use-bmuf"),
    Row("--find-unused-parameters --bucket-cap-mb 1 --gradient-as-bucket-view", still=SUMMED),
    Row("--broadcast-buffers --fix-batches-to-gpus --heartbeat-timeout 0", still=SUMMED),
    Row("--fast-stat-sync --all-gather-list-size 40000", still=SUMMED),
    Row("--update-freq 2 --ddp-comm-hook fp16"),
    Row(
        "--load-checkpoint-on-all-dp-ranks --restore-file {trained-KIND}/checkpoint_last.pt --max-update 153"
    ),
    Row("--reset-optimizer", f"{RESUMED} --load-checkpoint-on-all-dp-ranks"),
    Row("--store-ema --ema-decay 0.5"),
    Row("--encoder-layerdrop 0.5 --decoder-layerdrop 0.5", stops="finished reduction in the prior"),
    Row("--encoder-layerdrop 0.5 --decoder-layerdrop 0.5", "--ddp-backend legacy_ddp"),
    Row("--checkpoint-activations"),
    Row("--fp16"),
    Row("--bf16"),
    Row("--memory-efficient-fp16"),
    Row("--adaptive-softmax-cutoff 8,16 --criterion adaptive_loss", stops="--ddp-backend=legacy_ddp"),
    Row(ADAPTIVE),
]

# fairseq-train of a translation model with word alignments: transformer_align, and mega_nmt
TRAIN_ALIGN = [
    Row("--load-alignments"),
    Row("--alignment-lambda 0.5", "--load-alignments"),
    Row("--alignment-layer 0", "--load-alignments"),
]

# fairseq-train of a language model
TRAIN_LM = [
    Row("--checkpoint-activations", "--dropout 0", still="the same results in less memory"),
    Row("--offload-activations", "--dropout 0", still="the same results in less memory"),
    Row("--decoder-layers-to-keep 0"),
    Row("--tokens-per-sample 10"),
    Row("--sample-break-mode none --future-target", still="it is the default"),
    Row("--sample-break-mode complete"),
    Row("--sample-break-mode complete_doc"),
    Row("--sample-break-mode eos"),
    Row("--output-dictionary-size 20"),
    Row("--self-target", stops="Unsupported language modeling target: self"),
    Row("--past-target", stops="Unsupported language modeling target: past"),
    Row("--add-bos-token"),
    Row("--max-target-positions 16", stops="--skip-invalid-size-inputs-valid-test"),
    Row("--tokens-per-sample 30", RESUMED, differs="stock works", why=LENGTHS),
    Row("--shorten-method truncate", "--tokens-per-sample 5"),
    Row("--shorten-method random_crop --shorten-data-split-list train --tokens-per-sample 8"),
    Row("--pad-to-fixed-length", "--sample-break-mode eos"),
    Row("--pad-to-fixed-bsz"),
    Row("--decoder-input-dim 8"),
    Row("--adaptive-input --adaptive-input-cutoff 8,16"),
    Row("--adaptive-input --adaptive-input-cutoff 8,16 --adaptive-input-factor 2"),
    Row(f"{ADAPTIVE} --adaptive-input --adaptive-input-cutoff 8,16 --tie-adaptive-weights"),
    Row(
        "--tie-adaptive-proj",
        f"{ADAPTIVE} --adaptive-input --adaptive-input-cutoff 8,16 --tie-adaptive-weights",
    ),
    Row(CHARACTERS),
    Row("--character-embedding-dim 8", CHARACTERS),
    Row("--character-filters [(1,8),(2,8)]", CHARACTERS),
    Row("--char-embedder-highway-layers 1", CHARACTERS),
]

# fairseq-generate from a translation model
GENERATE = [
    Row("--beam 2"),
    Row("--beam 1"),
    Row("--nbest 2"),
    Row("--nbest 7", "--beam 2"),
    Row("--max-len-a 0.2 --max-len-b 1"),
    Row("--max-len-b 3"),
    Row("--min-len 8"),
    Row("--match-source-len"),
    Row("--unnormalized"),
    Row("--lenpen 2"),
    Row("--unkpen -30"),
    Row("--replace-unk", stops="requires a raw text dataset"),
    Row("--scoring sacrebleu"),
    Row("--scoring chrf"),
    Row("--scoring wer", stops="install editdistance"),
    Row("--scoring meteor", stops="install nltk"),
    Row("--scoring bert_score", stops="pip install bert-score"),
    Row("--score-reference"),
    Row("--prefix-size 2"),
    Row("--prefix-size 20"),
    Row(SAMPLED),
    Row("--sampling-topk 2", SAMPLED),
    Row("--sampling-topp 0.3", SAMPLED),
    Row("--temperature 2"),
    Row("--diverse-beam-groups 2", "--beam 4"),
    Row("--diverse-beam-strength 2", "--diverse-beam-groups 2 --beam 4"),
    Row("--diversity-rate 1"),
    Row("--print-alignment"),
    Row("--print-alignment soft"),
    Row("--print-step", stops="KeyError: 'steps'"),
    Row(f"{LM} --lm-weight 0.5"),
    Row("--retain-iter-history", stops="KeyError: 'history'"),
    Row("--retain-dropout"),
    Row(
        "--retain-dropout-modules Unknown",
        "--retain-dropout",
        differs="stock works",
        why="a module that is not there is refused",
    ),
    Row(
        "--iter-decode-max-iter 1 --iter-decode-eos-penalty 1 --iter-decode-force-max-iter "
        "--iter-decode-with-beam 2 --iter-decode-with-external-reranker --decoding-format vote",
        still="it is for decoders that do not go from left to right",
    ),
    Row(
        "--beam-mt 2 --max-len-a-mt 1 --max-len-b-mt 2 --lenpen-mt 2 --eos-token w3", still="it is for speech"
    ),
    Row("--quiet"),
    Row("--post-process letter"),
    Row("--remove-bpe letter"),
    Row("--results-path {save}"),
    Row(
        "--no-early-stop --no-beamable-mm --sacrebleu --bf16 --cpu --no-seed-provided "
        "--model-overrides {'eval_bleu':True}",
        still="generation does not read it, or it is the default",
    ),
    Row("--model-overrides {'encoder_layers':1}", stops="layers.1"),
    Row("--model-overrides encoder_layers=1", stops="must be a dictionary like"),
    Row(ENSEMBLE),
    Row("--path {trained-nmt}/absent.pt", stops="there is no checkpoint"),
    Row("--path {trained-nmt}/checkpoint.pt --checkpoint-suffix=_last"),
    Row("--checkpoint-shard-count 2", stops="there is no checkpoint"),
    Row("--fp16"),
    Row("--fp16 --cpu"),
    Row("--num-shards 2"),
    Row("--shard-id 1", "--num-shards 2"),
    Row("--gen-subset valid"),
    Row("--max-tokens 20"),
    Row("--batch-size 2"),
    Row("--required-batch-size-multiple 1 --batch-size 3"),
    Row("--left-pad-source", differs="output", why=BITS),
    Row("--truncate-source --max-source-positions 6 --skip-invalid-size-inputs-valid-test"),
    Row("--max-source-positions 6 --skip-invalid-size-inputs-valid-test"),
    Row("--max-target-positions 6 --skip-invalid-size-inputs-valid-test"),
    Row("-s de -t en"),
    Row("--constraints", stops="object is not iterable"),
    Row(f"{SAMPLED} --prefix-size 2"),
    Row("--prefix-size 2 --diverse-beam-groups 2 --beam 4 --nbest 4"),
    Row("--prefix-size 3 --print-alignment --unkpen -30"),
    Row("--score-reference --print-alignment"),
    Row(f"{ENSEMBLE} --score-reference"),
    Row(f"{ENSEMBLE} --print-alignment --nbest 2"),
    Row(f"{ENSEMBLE} {SAMPLED} --retain-dropout"),
    Row(f"{LM} --lm-weight 0.3 --prefix-size 1 --no-repeat-ngram-size 2"),
    Row("--min-len 6 --max-len-b 6 --max-len-a 0 --unnormalized --nbest 5"),
    Row(f"{SAMPLED} --sampling-topk 3 --temperature 0.5 --min-len 4"),
    Row(f"{SAMPLED} --match-source-len", stops="mutually exclusive"),
    Row("--num-shards 2 --shard-id 1 --quiet --scoring chrf"),
    Row("--fp16 --cpu --beam 3 --print-alignment"),
]

# What fairseq-interactive reads: unknown words, and with --constraints their words
LINES = "w1 w2 w3\nw4 w5 w6 w7 w8\nunknown w9\n"
CONSTRAINED = "w1 w2 w3\tw9\nw4 w5 w6 w7 w8\tw6 w5\tw1\nw2 w1\n"

# fairseq-interactive with a translation model
INTERACTIVE = [
    Row("--buffer-size 2"),
    Row("--buffer-size 3 --batch-size 2"),
    Row("--input {folder}/test.en"),
    Row("--input {folder}/absent", stops="check --input"),
    Row("--replace-unk"),
    Row("--print-alignment"),
    Row("--print-alignment soft --nbest 2", stops="too many values to unpack"),
    Row("--nbest 3 --buffer-size 9 --batch-size 9"),
    Row(f"{SAMPLED} --sampling-topp 0.9"),
    Row("--tokenizer space"),
    Row("--diverse-beam-groups 2 --beam 4 --nbest 4"),
]

# The same with lines that name constraints
CONSTRAINTS = [
    Row("--constraints"),
    Row("--constraints unordered"),
    Row("--constraints --nbest 3 --print-alignment"),
]

# fairseq-generate from a language model
GENERATE_LM = [
    Row("--prefix-size 3"),
    Row("--prefix-size 3 --beam 2 --nbest 2"),
    Row(f"{SAMPLED} --sampling-topk 3 --prefix-size 2"),
    Row(f"{SAMPLED} --sampling-topp 0.5 --prefix-size 2"),
    Row("--diverse-beam-groups 2 --beam 4"),
    Row("--max-len-b 5"),
    Row("--min-len 8"),
    Row("--lenpen 2 --temperature 2"),
    Row("--score-reference"),
    Row("--print-alignment", stops="IndexError"),
    Row("--replace-unk", stops="requires a raw text dataset"),
    Row("--retain-dropout"),
    Row("--fp16 --cpu"),
    Row(ENSEMBLE),
    Row(f"{LM} --lm-weight 0.5"),
    Row("--max-target-positions 6", still="a language model's positions are those that it was trained with"),
    Row("--num-shards 2 --shard-id 1"),
]

# fairseq-interactive with a language model
INTERACTIVE_LM = [
    Row("--nbest 2"),
    Row(f"{SAMPLED} --sampling-topk 3"),
    Row("--buffer-size 3 --batch-size 2"),
    Row("--max-len-b 7"),
    Row("--constraints", stops="object is not iterable"),
]

# fairseq-eval-lm
EVAL_LM = [
    Row(
        "--softmax-batch 4 --batch-size 1 --max-tokens 30 --model-overrides {'dropout':0.5}",
        still="the perplexity is the same",
    ),
    Row("--context-window 5"),
    Row("--context-window 5", "--tokens-per-sample 10"),
    Row("--output-word-probs"),
    Row("--output-word-stats"),
    Row("--output-word-probs --output-word-stats --remove-bpe --context-window 4"),
    Row("--tokens-per-sample 10"),
    Row("--sample-break-mode eos"),
    Row("--sample-break-mode complete"),
    Row("--sample-break-mode complete_doc"),
    Row(ENSEMBLE),
    Row("--path {trained-lm}/absent.pt", stops="there is no checkpoint"),
    Row("--model-overrides {'decoder_layers':1}", stops="layers.1"),
    Row("--fp16 --cpu", "--output-word-probs"),
    Row("--gen-subset valid"),
    Row("--post-process sentencepiece", stops="is not implemented"),
    Row(
        "--add-bos-token",
        differs="stock works",
        why="a simple position bias has the length of the training's blocks; train with it, or rotary",
    ),
    Row("--self-target", stops="Unsupported language modeling target: self"),
    Row("--shorten-method truncate --tokens-per-sample 8"),
    Row("--output-dictionary-size 20", stops="output_projection.weight"),
]

# fairseq-validate of either model
VALIDATE = [
    Row("--valid-subset valid"),
    Row("--valid-subset valid,test"),
    Row(
        f"{SMOOTHED} --label-smoothing 0.1 --max-tokens-valid 30 --batch-size-valid 3 "
        "--max-tokens 20 --skip-invalid-size-inputs-valid-test --num-shards 2 --shard-id 1",
        still="fairseq-validate does not read it, or the loss is the same",
    ),
    Row(ENSEMBLE),
    Row("--path {trained-KIND}/absent.pt", stops="there is no checkpoint"),
]

# fairseq-validate of a translation model
VALIDATE_NMT = [
    Row("--model-overrides {'eval_bleu':True,'eval_bleu_args':'{}'}"),
]


def each(tables):
    """The rows of a test: of tables (command, what is read, rows)."""
    for command, stdin, rows in tables:
        for row in rows:
            yield pytest.param(command, stdin, row, id=f"{command} {row.given}")
