"""The convolutional and the dense variational autoencoders of the presets in PyTorch, to compare the bounds they reach.

    python3 bench/peers/vae.py mnist DATA --network conv --epochs 10

DATA holds the data set's four files (…-ubyte.gz). Network, likelihood, optimizer, moving average and the test images are
those of the presets vae-mnist, conv-vae-mnist and conv-vae-fashion-mnist.
"""

import argparse
import copy
import gzip
import math
import os
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def images(folder, name):
    with gzip.open(os.path.join(folder, name)) as file:
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=16).copy()).reshape(-1, 1, 28, 28)


def encoder(network, latent, w=32):
    if network == "dense":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * latent))
    return nn.Sequential(
        nn.Conv2d(1, w, 4, 2, 1), nn.ReLU(), nn.Conv2d(w, 2 * w, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * w * 49, 256), nn.ReLU(), nn.Linear(256, 2 * latent),
    )


def decoder(network, latent, w=32):
    if network == "dense":
        return nn.Sequential(nn.Linear(latent, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    return nn.Sequential(
        nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 2 * w * 49), nn.ReLU(), nn.Unflatten(1, (2 * w, 7, 7)),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(w, 1, 4, 2, 1),
    )


class Vae(nn.Module):
    def __init__(self, network, latent, likelihood):
        super().__init__()
        self.encoder, self.decoder = encoder(network, latent), decoder(network, latent)
        self.likelihood = likelihood
        if likelihood == "discretized":
            self.log_scale = nn.Parameter(torch.zeros(()))

    def terms(self, x):
        """Logarithm of p(x | z) and the divergence, per image, in nats."""
        mu, log_var = self.encoder(x).chunk(2, 1)
        out = self.decoder(mu + torch.randn_like(mu) * (log_var / 2).exp())
        kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
        if self.likelihood == "bernoulli":
            log_p = -F.binary_cross_entropy_with_logits(out, (x + 1) / 2, reduction="none")
        else:
            normal = torch.distributions.Normal(out, self.log_scale.exp())
            upper = torch.where(x > 0.999, torch.ones_like(x), normal.cdf(x + 1 / 255))
            lower = torch.where(x < -0.999, torch.zeros_like(x), normal.cdf(x - 1 / 255))
            log_p = (upper - lower).clamp(min=1e-12).log()
        return log_p.flatten(1).sum(1), kl

    def seen(self, raw):
        if self.likelihood == "bernoulli":
            return 2 * (torch.rand(raw.shape) < raw / 255).float() - 1
        return raw / 127.5 - 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", choices=["mnist", "fashion-mnist"])
    parser.add_argument("data")
    parser.add_argument("--network", choices=["conv", "dense"], default="conv")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    folder = os.path.join(args.data, args.dataset)
    train = images(folder, "train-images-idx3-ubyte.gz")
    test = images(folder, "t10k-images-idx3-ubyte.gz")
    likelihood = "bernoulli" if args.dataset == "mnist" else "discretized"
    batch = args.batch_size or (64 if args.network == "conv" else 128)
    model = Vae(args.network, 16 if args.network == "conv" else 20, likelihood)
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 100))
    print(sum(p.numel() for p in model.parameters()), "parameters,", likelihood, flush=True)

    def evaluate(data):
        with torch.no_grad():
            log_p, kl = average.terms(average.seen(data))
        return log_p.mean().item(), kl.mean().item()

    start = time.time()
    for epoch in range(args.epochs):
        order = torch.randperm(len(train))
        for i in range(0, len(train) - batch + 1, batch):
            raw = train[order[i : i + batch]].float()
            if args.dataset == "fashion-mnist":
                flips = torch.rand(len(raw)) < 0.5
                raw[flips] = raw[flips].flip(3)
            log_p, kl = model.terms(model.seen(raw))
            loss = (kl - log_p).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warmup.step()
            with torch.no_grad():
                for p, q in zip(average.parameters(), model.parameters()):
                    p.lerp_(q, 0.001)
        seconds = time.time() - start
        for name, data in [("train", train[::30]), ("test", test[::5])]:
            log_p, kl = evaluate(data.float())
            bits = (kl - log_p) / 784 / math.log(2)
            print(f"epoch {epoch + 1} {seconds:.0f} s {name} ELBO {log_p - kl:.2f} reconstruction {-log_p:.2f} KL {kl:.2f} bits/dim {bits:.4f}", flush=True)


main()
