"""Restorers, and what judges images, as their authors write them in PyTorch: their names, their order, images [b, c, h, w].

Each is a function that imports torch and gives a torch.nn.Module; `TWINS` has with it the module that takes its weights, and
the shape of an input as that module takes it.
"""

from kdgan import models


def _conv(before, after, size=3, **more):
    from torch import nn

    return nn.Conv2d(before, after, size, padding=size // 2, **more)


def unshuffle():
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.PixelUnshuffle(2), _conv(4, 5), nn.ReLU(), _conv(5, 5), nn.ReLU(), _conv(5, 4), nn.PixelShuffle(2)
            )

        def forward(self, x):
            return x + self.net(x)

    return Residual()


def dncnn(norm):
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [_conv(2, 4), nn.ReLU()]
            for _ in range(2):
                layers += [_conv(4, 4, bias=not norm), *([nn.BatchNorm2d(4, eps=1e-4)] if norm else []), nn.ReLU()]
            self.dncnn = nn.Sequential(*layers, _conv(4, 2, bias=not norm))

        def forward(self, x):
            return x - self.dncnn(x)

    return Residual()


def espcn():
    from torch import nn

    return nn.Sequential(_conv(1, 4, 5), nn.Tanh(), _conv(4, 3), nn.Tanh(), _conv(3, 9), nn.PixelShuffle(3))


def fsrcnn(scale):
    from torch import nn

    d, s = 5, 3
    return nn.Sequential(
        _conv(1, d, 5), nn.PReLU(d), _conv(d, s, 1), nn.PReLU(s), _conv(s, s), nn.PReLU(s), _conv(s, s), nn.PReLU(s),
        _conv(s, d, 1), nn.PReLU(d), nn.ConvTranspose2d(d, 1, 9, scale, padding=4, output_padding=scale - 1),
    )  # fmt: skip


def carn(scale, width=8, groups=4):
    """CARN-M with the names of its authors' code, heads of all scales and the convolutions that shift by the mean."""
    import torch
    from torch import nn

    class Body(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.body = nn.Sequential(*layers)

        def forward(self, x):
            return self.body(x)

    class Residual(Body):
        def forward(self, x):
            return torch.relu(self.body(x) + x)

    class Cascade(nn.Module):
        def __init__(self, make):
            super().__init__()
            made = make()
            self.b1 = made[0]
            if len(made) > 1:
                self.b2, self.b3 = made[1:]
            self.c1, self.c2, self.c3 = (Body(_conv(width * (i + 2), width, 1), nn.ReLU()) for i in range(3))

        def cascade(self, x):
            joined = x
            for i in range(1, 4):
                joined = torch.cat([joined, getattr(self, f"b{i}", self.b1)(x)], 1)
                x = getattr(self, f"c{i}")(joined)
            return x

        forward = cascade

    def residual():
        return [Residual(
            _conv(width, width, groups=groups), nn.ReLU(), _conv(width, width, groups=groups), nn.ReLU(),
            _conv(width, width, 1),
        )]  # fmt: skip

    def head(*factors):
        layers = []
        for factor in factors:
            layers += [_conv(width, width * factor**2, groups=groups), nn.ReLU(), nn.PixelShuffle(factor)]
        return Body(*layers)

    class Net(Cascade):
        def __init__(self):
            nn.Module.__init__(self)
            self.sub_mean, self.add_mean = nn.Module(), nn.Module()
            for sign, shift in ((-1, self.sub_mean), (1, self.add_mean)):
                shift.shifter = nn.Conv2d(3, 3, 1)
                shift.sign = sign
            self.entry = _conv(3, width)
            self.b1, self.b2, self.b3 = (Cascade(residual) for _ in range(3))
            self.c1, self.c2, self.c3 = (Body(_conv(width * (i + 2), width, 1), nn.ReLU()) for i in range(3))
            self.upsample = nn.Module()
            self.upsample.up2, self.upsample.up3, self.upsample.up4 = head(2), head(3), head(2, 2)
            self.exit = _conv(width, 3)

        def prepared(self):
            """Sets the shifts, which are constants."""
            for shift in (self.sub_mean, self.add_mean):
                shift.shifter.weight.data = torch.eye(3)[:, :, None, None]
                shift.shifter.bias.data = shift.sign * torch.tensor([0.4488, 0.4371, 0.4040])

        def forward(self, x):
            x = self.cascade(self.entry(self.sub_mean.shifter(x)))
            return self.add_mean.shifter(self.exit(getattr(self.upsample, f"up{scale}")(x)))

    return Net()


def imdn(rtc):
    import torch
    from torch import nn
    from torch.nn import functional

    width, kept = 16, 4
    act = lambda x: functional.leaky_relu(x, 0.05)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_du = nn.Sequential(_conv(width, 1, 1), nn.ReLU(), _conv(1, width, 1), nn.Sigmoid())

        def forward(self, x):
            return x * self.conv_du(x.mean((2, 3), keepdim=True) + x.std((2, 3), keepdim=True, unbiased=False))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2, self.c3 = _conv(width, width), _conv(width - kept, width), _conv(width - kept, width)
            self.c4, self.c5 = _conv(width - kept, kept), _conv(width, width, 1)
            if not rtc:
                self.cca = Attention()

        def forward(self, x):
            parts, y = [], x
            for layer in (self.c1, self.c2, self.c3):
                part, y = torch.split(act(layer(y)), (kept, width - kept), 1)
                parts.append(part)
            y = torch.cat([*parts, self.c4(y)], 1)
            return self.c5(y if rtc else self.cca(y)) + x

    class Shortcut(nn.Module):
        def __init__(self, sub):
            super().__init__()
            self.sub = sub

        def forward(self, x):
            return x + self.sub(x)

    if rtc:
        rest = Shortcut(nn.Sequential(Block(), Block(), _conv(width, width, 1)))
        return nn.Sequential(_conv(3, width), rest, _conv(width, 27), nn.PixelShuffle(3))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fea_conv, self.IMDB1, self.IMDB2 = _conv(3, width), Block(), Block()
            self.c = nn.Sequential(_conv(2 * width, width, 1), nn.LeakyReLU(0.05))
            self.LR_conv = _conv(width, width)
            self.upsampler = nn.Sequential(_conv(width, 12), nn.PixelShuffle(2))

        def forward(self, x):
            first = self.fea_conv(x)
            one = self.IMDB1(first)
            y = self.c(torch.cat([one, self.IMDB2(one)], 1))
            return self.upsampler(self.LR_conv(y) + first)

    return Net()


def unet():
    import torch
    from torch import nn

    def two(before, after):
        return nn.Sequential(_conv(before, after), nn.ReLU(), _conv(after, after), nn.ReLU())

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inc, self.down1, self.down2 = two(1, 3), two(3, 6), two(6, 12)
            self.up1, self.conv1 = nn.ConvTranspose2d(12, 6, 2, 2), two(12, 6)
            self.up2, self.conv2 = nn.ConvTranspose2d(6, 3, 2, 2), two(6, 3)
            self.outc = nn.Conv2d(3, 1, 1)

        def forward(self, x):
            pool = nn.functional.max_pool2d
            first = self.inc(x)
            second = self.down1(pool(first, 2))
            y = self.up1(self.down2(pool(second, 2)))
            y = self.up2(self.conv1(torch.cat([second, y], 1)))
            return x + self.outc(self.conv2(torch.cat([first, y], 1)))

    return Net()


def patch_critic():
    """pix2pix's, with instance norm."""
    from torch import nn

    def layers(before, after, stride, normed=True):
        conv = nn.Conv2d(before, after, 4, stride, 1)
        return [conv, *([nn.InstanceNorm2d(after)] if normed else []), nn.LeakyReLU(0.2)]

    return nn.Sequential(
        *layers(3, 4, 2, normed=False), *layers(4, 6, 2), *layers(6, 8, 1), nn.Conv2d(8, 1, 4, 1, 1)
    )  # fmt: skip


def squeezenet():
    """As torchvision has version 1.0, with the padding of the last convolution that Caffe's has."""
    import torch
    from torch import nn

    class Fire(nn.Module):
        def __init__(self, before, squeezed, after):
            super().__init__()
            self.squeeze = nn.Conv2d(before, squeezed, 1)
            self.expand1x1, self.expand3x3 = nn.Conv2d(squeezed, after, 1), nn.Conv2d(squeezed, after, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)

    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128),
                pool(), Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), pool(),
                Fire(512, 64, 256),
            )  # fmt: skip
            self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 5, 1, padding=1), nn.ReLU())

        def forward(self, x):
            return self.classifier(self.features(x)).mean((2, 3))

    return Net()


TWINS = {
    "unshuffle": (unshuffle, models.Unshuffle(width=5, depth=3), (2, 6, 8, 1)),
    "dncnn": (lambda: dncnn(True), models.DnCNN(depth=4, width=4), (2, 5, 7, 2)),
    "dncnn, merged": (lambda: dncnn(False), models.DnCNN(depth=4, width=4, batch_norm=False), (2, 5, 7, 2)),
    "espcn": (espcn, models.ESPCN(scale=3, features=(4, 3)), (2, 5, 7, 1)),
    "fsrcnn, x2": (lambda: fsrcnn(2), models.FSRCNN(2, 5, 3, 2), (2, 5, 7, 1)),
    "fsrcnn, x3": (lambda: fsrcnn(3), models.FSRCNN(3, 5, 3, 2), (2, 5, 7, 1)),
    "fsrcnn, x4": (lambda: fsrcnn(4), models.FSRCNN(4, 5, 3, 2), (2, 5, 7, 1)),
    "carn, x2": (lambda: carn(2), models.CARN(2, width=8), (2, 5, 7, 3)),
    "carn, x3": (lambda: carn(3), models.CARN(3, width=8), (2, 5, 7, 3)),
    "carn, x4": (lambda: carn(4), models.CARN(4, width=8), (2, 5, 7, 3)),
    "imdn": (lambda: imdn(False), models.IMDN(width=16, blocks=2), (2, 5, 7, 3)),
    "imdn, real time": (lambda: imdn(True), models.IMDN(3, width=16, blocks=2, rtc=True), (2, 5, 7, 3)),
    "unet": (unet, models.UNet(width=3), (2, 8, 12, 1)),
    "patch critic": (patch_critic, models.PatchCritic((4, 6, 8)), (2, 24, 20, 3)),
    "squeezenet": (squeezenet, models.SqueezeNet(5, bgr=False), (2, 40, 33, 3)),
}
