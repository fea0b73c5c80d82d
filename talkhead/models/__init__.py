"""Networks: tensors in, tensors out; no files, no frame rates, no names of devices."""
