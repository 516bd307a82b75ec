"""BLEU and its like, perplexity, what fairseq-generate prints, pictures."""
