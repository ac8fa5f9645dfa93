"""Two server optimizers on scikit-learn's digits, shared unequally among 50 clients.

    pip install fedra scikit-learn
    python simulate.py
"""

import fedra
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.2, random_state=0)

task = {
    "rounds": 100,
    "model": {
        "input": [64],
        "loss": "softmax_cross_entropy",
        "layers": [
            {"type": "linear", "outputs": 32},
            {"type": "relu"},
            {"type": "linear", "outputs": 10},
        ],
    },
    "training": {"learning_rate": 0.2, "batch_size": 10},
    "round": {"cohort_size": 10, "minimum_cohort": 10},
}
for optimizer in ({"name": "averaging"}, {"name": "momentum", "momentum": 0.7}):
    result = fedra.simulate(
        {**task, "server_optimizer": optimizer},
        (x_train, y_train),
        clients=50,
        partition={"kind": "dirichlet", "alpha": 0.3},
        evaluation=(x_test, y_test),
        target=0.92,
    )
    last, sent = result.rounds[-1], result.rounds["bytes_up"].sum() / 1e6
    print(f"{optimizer['name']}: {last.metric:.3f} after {last.round} rounds, {sent:.1f} MB sent")
