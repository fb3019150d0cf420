"""The variational autoencoders of the presets in PyTorch, to compare the bounds they reach.

    python3 bench/peers/vae.py mnist DATA --network conv --epochs 10

DATA/mnist holds the data set's four files (…-ubyte.gz). Networks, likelihoods, optimizer, moving average and the test
images are those of the presets vae-… (dense), vae-…-2d (plane) and conv-vae-… (conv).
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

# latents, batch, steps of warm-up
NETWORKS = {"dense": (20, 128, 0), "plane": (2, 128, 0), "conv": (16, 64, 100)}
IN_USE = 0.01


def images(folder, name):
    with gzip.open(os.path.join(folder, name)) as file:
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=16).copy()).reshape(-1, 1, 28, 28)


def regularized(n, m):
    return [nn.Linear(n, m), nn.ReLU(), nn.BatchNorm1d(m, 1e-3, 0.01), nn.Dropout(0.3)]


def encoder(network, latent, w=32):
    if network == "dense":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * latent))
    if network == "plane":
        return nn.Sequential(
            nn.Flatten(), *regularized(784, 256), *regularized(256, 128), nn.Linear(128, 2 * latent)
        )
    return nn.Sequential(
        nn.Conv2d(1, w, 4, 2, 1), nn.ReLU(), nn.Conv2d(w, 2 * w, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * w * 49, 256), nn.ReLU(), nn.Linear(256, 2 * latent),
    )


def decoder(network, latent, w=32):
    if network == "dense":
        return nn.Sequential(nn.Linear(latent, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    if network == "plane":
        return nn.Sequential(
            *regularized(latent, 128), *regularized(128, 256), nn.Linear(256, 784), nn.Unflatten(1, (1, 28, 28))
        )
    return nn.Sequential(
        nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 2 * w * 49), nn.ReLU(), nn.Unflatten(1, (2 * w, 7, 7)),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(w, 1, 4, 2, 1),
    )


CDF = {
    "tanh": lambda z: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "erf": lambda z: 0.5 * (1 + torch.erf(z / math.sqrt(2))),
}


class Vae(nn.Module):
    def __init__(self, network, latent, likelihood, cdf):
        super().__init__()
        self.encoder, self.decoder = encoder(network, latent), decoder(network, latent)
        self.likelihood, self.cdf = likelihood, CDF[cdf]
        if likelihood == "discretized":
            self.log_scale = nn.Parameter(torch.zeros(()))

    def terms(self, x):
        """Logarithm of p(x | z) per image and the divergence per image and latent, in nats."""
        mu, log_var = self.encoder(x).chunk(2, 1)
        out = self.decoder(mu + torch.randn_like(mu) * (log_var / 2).exp())
        kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
        if self.likelihood == "bernoulli":
            log_p = -F.binary_cross_entropy_with_logits(out, (x + 1) / 2, reduction="none")
        elif self.likelihood == "gaussian":  # the sum of squared errors of pixels in [0, 1], and a constant
            log_p = -(((x + 1) / 2 - out.sigmoid()) ** 2) - math.log(2 * math.sqrt(math.pi))
        else:
            inverse = (-self.log_scale).exp()
            upper = torch.where(x > 0.999, torch.ones_like(x), self.cdf((x + 1 / 255 - out) * inverse))
            lower = torch.where(x < -0.999, torch.zeros_like(x), self.cdf((x - 1 / 255 - out) * inverse))
            log_p = (upper - lower).clamp(min=1e-12).log()
        return log_p.flatten(1).sum(1), kl

    def seen(self, raw):
        if self.likelihood == "bernoulli":
            return 2 * (torch.rand(raw.shape, dtype=raw.dtype) < raw / 255).to(raw.dtype) - 1
        return raw / 127.5 - 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", choices=["mnist", "fashion-mnist"])
    parser.add_argument("data")
    parser.add_argument("--network", choices=NETWORKS, default="conv")
    parser.add_argument("--cdf", choices=CDF, default="tanh", help="of the discretized likelihood")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    folder = os.path.join(args.data, args.dataset)
    train = images(folder, "train-images-idx3-ubyte.gz")
    test = images(folder, "t10k-images-idx3-ubyte.gz")
    likelihood = "bernoulli" if args.dataset == "mnist" else "discretized"
    if args.network == "plane":
        likelihood = "gaussian"
    latent, batch, warmup = NETWORKS[args.network]
    model = Vae(args.network, latent, likelihood, args.cdf)
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / max(1, warmup)))
    print(sum(p.numel() for p in model.parameters()), "parameters,", likelihood, flush=True)

    def evaluate(data):
        with torch.no_grad():
            for p, q in zip(average.buffers(), model.buffers()):
                p.copy_(q)
            exact = copy.deepcopy(average).eval().double()  # in float32 bins far above the mean have no mass
            state = torch.random.get_rng_state()
            torch.manual_seed(args.seed)
            parts = [exact.terms(exact.seen(part.double())) for part in data.split(500)]
            torch.random.set_rng_state(state)
        kl = torch.cat([kl for _, kl in parts]).mean(0)
        return torch.cat([log_p for log_p, _ in parts]).mean().item(), kl.sum().item(), (kl > IN_USE).sum().item()

    updates = 0
    start = time.time()
    for epoch in range(args.epochs):
        order = torch.randperm(len(train))
        for i in range(0, len(train) - batch + 1, batch):
            raw = train[order[i : i + batch]].float()
            if args.dataset == "fashion-mnist":
                flips = torch.rand(len(raw)) < 0.5
                raw[flips] = raw[flips].flip(3)
            log_p, kl = model.terms(model.seen(raw))
            loss = (kl.sum(1) - log_p).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1000)
            optimizer.step()
            schedule.step()
            decay = min(0.999, (1 + updates) / (10 + updates))
            updates += 1
            with torch.no_grad():
                for p, q in zip(average.parameters(), model.parameters()):
                    p.lerp_(q, 1 - decay)
        if epoch + 1 < args.epochs and (epoch + 1) % max(1, args.epochs // 10) != 0:
            continue
        seconds = time.time() - start
        for name, data in [("train", train[::30]), ("test", test[::5])]:
            log_p, kl, in_use = evaluate(data)
            bits = (kl - log_p) / 784 / math.log(2)
            print(
                f"epoch {epoch + 1} {seconds:.0f} s {name} ELBO {log_p - kl:.2f} reconstruction {-log_p:.2f} KL {kl:.2f} "
                f"bits/dim {bits:.4f} latents in use {in_use}",
                flush=True,
            )


main()
