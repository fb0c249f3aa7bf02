"""PyTorch modules for tests, made where PyTorch is installed: a random CNN of everything that a classifier may have."""

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ModuleNotFoundError:  # tests that use them are skipped
    pass
else:

    class Block(nn.Module):
        """Grouped and depthwise convolutions, batch norm, dropout, a residual sum in place."""

        def __init__(self, given, made, stride):
            super().__init__()
            self.grouped = nn.Conv2d(given, made, 3, stride, 1, groups=2, bias=False)
            self.first, self.second = nn.BatchNorm2d(made), nn.BatchNorm2d(made)
            self.depthwise = nn.Conv2d(made, made, 3, padding=1, groups=made)
            self.past = nn.Conv2d(given, made, 1, stride)
            self.dropout = nn.Dropout2d(0.3)

        def forward(self, x):
            y = functional.relu(self.first(self.grouped(x)), inplace=True)
            y = self.dropout(self.second(self.depthwise(y)))
            y += self.past(x)
            return functional.relu_(y)

    class Net(nn.Module):
        """Images [b, c, h, w] to logits: pooling of all kinds, convolutions, a transposed one of groups, a dense layer."""

        def __init__(self, channels=1, num_classes=10):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1))
            self.blocks = nn.Sequential(Block(4, 8, 1), nn.MaxPool2d(3, 2, 1, ceil_mode=True))
            self.average = nn.AvgPool2d(2, 1, padding=1, ceil_mode=True)
            self.wider = nn.ConvTranspose2d(8, 4, 3, 2, 1, groups=2)
            self.adaptive, self.largest = nn.AdaptiveAvgPool2d((3, 2)), nn.AdaptiveMaxPool2d(2)
            self.dropout, self.head = nn.Dropout(0.5), nn.Linear(8 * 6 + 8 * 4 + 4, num_classes)

        def forward(self, x):
            x = self.average(self.blocks(self.stem(x)))
            small = [self.adaptive(x).flatten(1), self.largest(x).view(len(x), -1), self.wider(x).mean((2, 3))]
            return self.head(self.dropout(torch.cat(small, 1)))

    class Attends(nn.Module):
        """A transformer encoder over patches, with GELU, layer norm and a class token."""

        def __init__(self, width=8, num_classes=10):
            super().__init__()
            self.patches = nn.Conv2d(1, width, 4, 4)
            self.token = nn.Parameter(torch.randn(1, 1, width))
            layer = nn.TransformerEncoderLayer(width, 2, 16, activation="gelu", batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1)
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = self.encoder(torch.cat([self.token.expand(len(x), -1, -1), x], 1))
            return self.head(self.norm(x[:, 0]))

    class Small(nn.Module):
        """Quick to compile: a convolution, batch norm and a dense layer."""

        def __init__(self, num_classes=10):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 3, 3, 2), nn.BatchNorm2d(3)
            self.head = nn.Linear(27, num_classes)

        def forward(self, x):
            return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))

    class Draws(nn.Module):
        """Noise [b, d] to images [b, 1, 8, 8] in [0, 1]."""

        def __init__(self, latent=4):
            super().__init__()
            self.dense, self.last = nn.Linear(latent, 4 * 4 * 4), nn.ConvTranspose2d(4, 1, 4, 2, 1)

        def forward(self, noise):
            return torch.sigmoid(self.last(self.dense(noise).view(-1, 4, 4, 4)))

    class Blurs(nn.Module):
        """Images to images of the same size."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, (3, 5), padding=(1, 2))

        def forward(self, x):
            return self.conv(x)

    class Noisy(nn.Module):
        """Adds noise, in evaluation mode too."""

        def __init__(self, like=False):
            super().__init__()
            self.head, self.like = nn.Linear(64, 10), like

        def forward(self, x):
            logits = self.head(x.flatten(1))
            return logits + (torch.randn_like(logits) if self.like else torch.randn(10))

    class Pair(nn.Module):
        """Gives two tensors."""

        def forward(self, x):
            return x.flatten(1)[:, :10], x

    class Decides(nn.Module):
        """Its way depends on values."""

        def forward(self, x):
            return x.flatten(1)[:, :10] if x.sum() > 0 else -x.flatten(1)[:, :10]

    class Wavelets(nn.Module):
        """An operation that nothing converts."""

        def forward(self, x):
            return functional.rrelu(x.flatten(1)[:, :10], training=False)

    def net(num_classes=10):
        """A function that gives a module, with batch statistics that are not those of a fresh one."""
        made = Net(num_classes=num_classes)
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
        return made

    def number():
        """No module."""
        return 3
