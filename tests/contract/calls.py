"""Calls of the hub interface: expressions of `hub`, each after the one that it is compared with."""

TEXTS = ["w1 w2 w3", "w4 w5 w6 w7 w8", "unknown w9"]
PLAIN = "hub.generate(codes)"
# Those of every model. codes: the texts, encoded.
BOTH = {
    "hub.translate(texts)": None,
    "hub.translate(texts[0])": None,
    "hub.translate(texts, beam=1)": None,
    "hub.translate(texts, 3, True)": None,
    "hub.sample(texts)": None,
    "hub.sample(texts, beam=2, sampling=True, nbest=2)": None,
    PLAIN: None,
    "hub.generate(codes[0])": None,
    "hub.generate(codes, beam=2)": PLAIN,
    "hub.generate(codes, nbest=3)": None,
    "hub.generate(codes, verbose=True)": None,
    "hub.generate(codes, skip_invalid_size_inputs=True)": None,
    "hub.generate(codes, inference_step_args={'prefix_tokens': torch.tensor([[9], [9], [9]])})": PLAIN,
    "hub.generate(codes, prefix_allowed_tokens_fn=lambda sentence, tokens: [2, 7, 8])": PLAIN,
    "hub.generate(codes, sampling=True, sampling_topk=2)": PLAIN,
    "hub.generate(codes, sampling=True, sampling_topp=0.5)": PLAIN,
    "hub.generate(codes, beam=4, diverse_beam_groups=2, diverse_beam_strength=1.0)": PLAIN,
    "hub.generate(codes, diversity_rate=0.5)": PLAIN,
    "hub.generate(codes, temperature=2.0)": PLAIN,
    "hub.generate(codes, lenpen=3.0)": PLAIN,
    "hub.generate(codes, unnormalized=True)": PLAIN,
    "hub.generate(codes, min_len=9)": PLAIN,
    "hub.generate(codes, max_len_a=0, max_len_b=7)": None,
    "hub.generate(codes, no_repeat_ngram_size=1)": None,
    "hub.generate(codes, unkpen=-30)": PLAIN,
    "hub.encode(texts[0])": None,
    "hub.decode(codes[0])": None,
    "hub.tokenize(texts[0]), hub.detokenize(texts[0])": None,
    "hub.apply_bpe(texts[0]), hub.remove_bpe(texts[0])": None,
    "hub.binarize(texts[0]), hub.string(codes[0])": None,
    "hub.max_positions, hub.device, len(hub.models)": None,
    "hub.cfg.generation.beam, sorted(hub.state_dict())[:1]": None,
}
# Those that leave another hub behind.
CHANGING = [
    "hub.half().translate(texts, beam=2)",
    "hub.double().translate(texts, beam=2)",
    "hub.to('cpu').translate(texts)",
]
TRANSLATION = {
    "hub.generate(codes, match_source_len=True)": PLAIN,
    "hub.generate(codes, print_alignment='hard')": PLAIN,
    "hub.generate(codes, print_alignment='soft')": PLAIN,
}
LANGUAGE = {
    "hub.score(texts)": None,
    "hub.score(texts[0])": None,
    "hub.score(texts, replace_newline_with_eos=True)": None,
    "hub.generate(codes, score_reference=True)": None,
}
# Keywords of from_pretrained, with which the texts are translated.
LOADED = [
    "checkpoint_file='checkpoint_last.pt:checkpoint20.pt'",
    "beam=2",
    "lenpen=2.0",
    "max_len_b=7",
    "tokenizer='space'",
    "bpe='characters'",
    "generation_args={'nbest': 2}",
    "dropout=0.3",
]
