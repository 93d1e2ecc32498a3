"""What all stores have in common that keep objects behind HTTP: S3 and Swift."""
