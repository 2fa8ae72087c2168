"""The sample that `holdfast demo` runs: a shop's orders, from validation to the receipt."""
