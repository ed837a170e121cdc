"""Training of networks on images: tasks, augmentation, and training from scratch. Importable without torch."""
