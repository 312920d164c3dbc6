"""mm2-tiny: tokenizer, documents, model, optimizer, checkpoint and training loop."""
