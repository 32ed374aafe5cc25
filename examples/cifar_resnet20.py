"""ResNet-20 for CIFAR-10 (He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2): a builder for
weights from a file.

    models:
      resnet20:
        source: file
        path: resnet20-cifar10.th
        builder: examples/cifar_resnet20.py:resnet20
        strip_prefix: "module."
        transform: {crop: 32}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS_PER_STAGE = 3  # 6 * 3 + 2 = 20 layers with weights


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without weights (option A of the paper)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.more_channels = channels - channels_in

    def forward(self, images: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(images)))))
        return functional.relu(residual + self._shortcut(images))

    def _shortcut(self, images: Tensor) -> Tensor:
        """Every second pixel where the stage begins, and black channels on both sides for those that are new."""
        smaller = images[:, :, :: self.stride, :: self.stride]
        before = self.more_channels // 2
        return functional.pad(smaller, (0, 0, 0, 0, before, self.more_channels - before))


class CifarResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels at 32, 16 and 8 pixels; the input of `linear` is the embedding (64)."""

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, blocks)
        self.layer2 = _stage(16, 32, 2, blocks)
        self.layer3 = _stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32), normalised, to logits (N, classes)."""
        maps = functional.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        scores: Tensor = self.linear(torch.mean(maps, dim=(2, 3)))
        return scores


def _stage(channels_in: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    rest = [ResidualBlock(channels, channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(ResidualBlock(channels_in, channels, stride), *rest)


def resnet20(classes: int = 10) -> CifarResNet:
    """What the configuration's `builder` names."""
    return CifarResNet(BLOCKS_PER_STAGE, classes)
