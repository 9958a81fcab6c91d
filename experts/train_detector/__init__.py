"""A small detector of one's own: data, training by ultralytics' trainer, export to ONNX, scores by pycocotools."""
