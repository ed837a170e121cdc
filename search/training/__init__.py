"""Training networks of the space on images: tasks, augmentation, and training from scratch. Imported torch-free."""
