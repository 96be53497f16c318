"""Quantization-aware fine-tuning; the only part of qmc that needs torch (extra ``train``)."""
