"""The published sets that layerpar knows, by the name of their class in `torchvision.datasets`.

Checksums are the publishers' own; a test compares them with torchvision's. They are repeated here because to
import torchvision takes as long as everything else that happens before a mistake is reported.
"""

from layerpar.datasets.idx import IdxSource
from layerpar.datasets.pickles import PickleSource
from layerpar.datasets.source import Source

MNIST = IdxSource(
    torchvision_class="MNIST",
    site="https://ossci-datasets.s3.amazonaws.com/mnist/",
    folder="MNIST/raw",
    input_shape=(1, 28, 28),
    num_classes=10,
    num_train=60_000,
    num_test=10_000,
    mean=(0.1307,),
    std=(0.3081,),
    md5={
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)

FASHION_MNIST = IdxSource(
    torchvision_class="FashionMNIST",
    site="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    folder="FashionMNIST/raw",
    input_shape=(1, 28, 28),
    num_classes=10,
    num_train=60_000,
    num_test=10_000,
    mean=(0.2860,),
    std=(0.3530,),
    md5={
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)

CIFAR10 = PickleSource(
    torchvision_class="CIFAR10",
    site="https://www.cs.toronto.edu/~kriz/",
    archive_name="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    input_shape=(3, 32, 32),
    num_classes=10,
    num_train=50_000,
    num_test=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    train_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test_md5={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta_md5={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
)

CIFAR100 = PickleSource(
    torchvision_class="CIFAR100",
    site="https://www.cs.toronto.edu/~kriz/",
    archive_name="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    input_shape=(3, 32, 32),
    num_classes=100,
    num_train=50_000,
    num_test=10_000,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    train_md5={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test_md5={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta_md5={"meta": "7973b15100ade9c7d40fb424638fde48"},
)

SOURCES: dict[str, Source] = {
    source.torchvision_class: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)
}
