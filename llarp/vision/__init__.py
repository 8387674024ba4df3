"""What is seen: frozen visual encoders, masked-autoencoder training and the feature store."""
