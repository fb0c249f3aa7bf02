"""Networks of kdgan.models, and others, as somebody writes them in PyTorch: other names, other orders, images [b, c, h, w].

Each is a function that imports torch and gives a torch.nn.Module; `TWINS` has with it the module that takes its weights, the
shape of an input as that module takes it, and whether it is tokens.
"""

from flax import linen as nn

from kdgan import models
from kdgan.models.low_rank import LowRankMLP


def cnn():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(30, 7), nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, 4),
    )  # fmt: skip


def lenet5():
    from torch import nn

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            # Registered in another order than they are called in.
            self.classifier = nn.Sequential(nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
            self.c1, self.c2 = nn.Conv2d(1, 2, 5), nn.Conv2d(2, 4, 5)

        def forward(self, x):
            x = nn.functional.max_pool2d(self.c1(x).relu(), 2)
            x = nn.functional.max_pool2d(self.c2(x).relu(), 2)
            return self.classifier(x.flatten(1))

    return LeNet()


def mlp():
    from torch import nn

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(24, 6),
        nn.ReLU(),
        nn.Linear(6, 6),
        nn.ReLU(),
        nn.Linear(6, 6),
        nn.ReLU(),
        nn.Linear(6, 4),
    )


def low_rank():
    from torch import nn

    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up, self.fc = nn.Linear(24, 2, bias=False), nn.Linear(2, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.up(self.down(x.flatten(1))).relu())

    return LowRank()


def resnet(option="B", widths=(4, 4, 6, 8), blocks=2, classes=5):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.more = after - before
            self.stride = stride
            if option == "B" and (stride != 1 or before != after):
                self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            if hasattr(self, "downsample"):
                x = self.downsample(x)
            elif self.more or self.stride != 1:
                half = self.more // 2
                x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.more - half))
            return (x + y).relu()

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
            for i in (1, 2, 3):
                first = Block(widths[i - 1], widths[i], 1 if i == 1 else 2)
                rest = [Block(widths[i], widths[i], 1) for _ in range(blocks - 1)]
                self.add_module(f"layer{i}", nn.Sequential(first, *rest))
            self.linear = nn.Linear(widths[-1], classes)

        def forward(self, x):
            x = self.bn1(self.conv1(x)).relu()
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(torch.mean(x, (2, 3)))

    return ResNet()


def wide_resnet():
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.bn1 = nn.BatchNorm2d(before)
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            equal = before == after and stride == 1
            self.convShortcut = None if equal else nn.Conv2d(before, after, 1, stride, bias=False)

        def forward(self, x):
            active = self.bn1(x).relu()
            y = self.conv2(self.bn2(self.conv1(active)).relu())
            return y + (x if self.convShortcut is None else self.convShortcut(active))

    class WideResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.block1 = nn.Sequential(Block(16, 16, 1))
            self.block2 = nn.Sequential(Block(16, 32, 2))
            self.block3 = nn.Sequential(Block(32, 64, 2))
            self.bn1, self.fc = nn.BatchNorm2d(64), nn.Linear(64, 5)

        def forward(self, x):
            x = self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))).relu()
            return self.fc(x.mean((2, 3)))

    return WideResNet()


def vgg():
    from torch import nn

    layers, before = [], 3
    for i, width in enumerate((4, 5, 6, 6, 6), start=1):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (i <= 2)
        before = width
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def embedding_bag():
    from torch import nn

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.inner, self.out = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, tokens):
            return self.out(self.inner(self.embed(tokens).mean(1)).relu())

    return Bag()


def text_cnn():
    import torch
    from torch import nn

    class TextCNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.convs = nn.ModuleList(nn.Conv1d(6, 5, window, padding=(window - 1) // 2) for window in (1, 3, 5))
            self.out = nn.Linear(15, 4)

        def forward(self, tokens):
            x = self.embed(tokens).transpose(1, 2)
            return self.out(torch.cat([conv(x).relu().amax(2) for conv in self.convs], 1))

    return TextCNN()


def transformer(causal=False):
    import numpy as np
    import torch
    from torch import nn

    from kdgan.models.text import _positions

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
            self.fc, self.proj = nn.Linear(8, 12), nn.Linear(12, 8)

        def forward(self, x, mask):
            y = self.ln_1(x)
            x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
            return x + self.proj(nn.functional.gelu(self.fc(self.ln_2(x)), approximate="tanh"))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte = nn.Embedding(11, 8)
            self.h = nn.ModuleList([Block(), Block()])
            self.ln_f = nn.LayerNorm(8, eps=1e-6)
            self.head = nn.Linear(8, 11 if causal else 4)

        def forward(self, tokens):
            t = tokens.shape[1]
            x = self.wte(tokens) * np.sqrt(8) + torch.from_numpy(_positions(t, 8))
            mask = torch.ones(t, t, dtype=torch.bool).triu(1) if causal else None
            for block in self.h:
                x = block(x, mask)
            x = self.ln_f(x)
            return self.head(x if causal else x.mean(1))

    return Transformer()


class Mixed(nn.Module):
    """Groups, depthwise, PReLU, norms of three kinds, a transposed convolution, a norm after the flattening, 1×1 dense."""

    @nn.compact
    def __call__(self, x, train=False):
        norm = lambda name: nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)
        x = nn.Conv(6, (3, 3), padding=1, feature_group_count=2, name="grouped")(x)
        x = nn.PReLU(name="slope")(norm("bn")(x))
        x = nn.Conv(12, (3, 3), (2, 2), padding=1, feature_group_count=6, name="depthwise")(x)
        x = nn.relu(nn.GroupNorm(3, epsilon=1e-5, name="gn")(x))
        x = nn.ConvTranspose(5, (4, 4), (2, 2), name="up")(x)
        x = nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3), name="ln")(x)
        x = nn.avg_pool(nn.Dense(3, name="pointwise")(x), (2, 2), (2, 2)).reshape(x.shape[0], -1)
        x = nn.Dense(8, name="fc")(norm("flat_bn")(x))
        return nn.Dense(4, name="out")(nn.relu(norm("last_bn")(x)))


def mixed():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.PReLU(init=0.1),
        nn.Conv2d(6, 12, 3, 2, 1, groups=6), nn.GroupNorm(3, 12), nn.ReLU(),
        nn.ConvTranspose2d(12, 5, 4, 2, 1), nn.LayerNorm((5, 4, 6)),
        nn.Conv2d(5, 3, 1), nn.AvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(18), nn.Linear(18, 8), nn.BatchNorm1d(8),
        nn.ReLU(), nn.Linear(8, 4),
    )  # fmt: skip


# name -> (PyTorch's, the module that takes its weights, shape of its input, whether that is tokens)
TWINS = {
    "cnn": (cnn, models.CNN((3, 5), dense=7, num_classes=4), (2, 8, 12, 2), False),
    "lenet5": (lenet5, models.LeNet5((2, 4), (8, 6), num_classes=4), (2, 32, 32, 1), False),
    "mlp": (mlp, models.MLP((6, 6, 6), num_classes=4), (2, 2, 4, 3), False),
    "low_rank": (low_rank, LowRankMLP((8,), 2, 4), (2, 2, 4, 3), False),
    "resnet": (lambda: resnet(blocks=1), models.ResNet(8, 4, (4, 6, 8), 5), (2, 8, 8, 3), False),
    "resnet, option A": (lambda: resnet("A"), models.ResNet(14, 4, (4, 6, 8), 5, shortcut="A"), (2, 8, 8, 3), False),
    "wide_resnet": (wide_resnet, models.WideResNet(10, 1, 5), (2, 8, 8, 3), False),
    "vgg": (vgg, models.VGG(8, (4, 5, 6, 6, 6), 4, pools=2), (2, 8, 8, 3), False),
    "embedding_bag": (embedding_bag, models.EmbeddingBag(11, 6, (6,), 4), (2, 7), True),
    "text_cnn": (text_cnn, models.TextCNN(11, 6, (1, 3, 5), 5, 4), (2, 7), True),
    "text_transformer": (transformer, models.TextTransformer(11, 8, 2, 2, 12, 4), (2, 7), True),
    "causal_transformer": (lambda: transformer(True), models.CausalTransformer(11, 8, 2, 2, 12), (2, 7), True),
    "mixed": (mixed, Mixed(), (2, 4, 6, 4), False),
}  # fmt: skip


def randomised(network):
    """A network in evaluation mode whose every parameter and statistic is drawn anew, so that none can be mistaken."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            drawn = (
                torch.randn(value.shape, generator=generator) / max(1, value[0].numel() if value.ndim > 1 else 4) ** 0.5
            )
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return network.eval()
