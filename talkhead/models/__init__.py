"""Neural networks: tensors in, tensors out. No files, frame rates or device names here."""
