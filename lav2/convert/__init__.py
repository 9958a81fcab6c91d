"""Released LLaMA and adapter files as this project reads them."""
