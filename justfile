# Short names for `python3 dev …`, which works without just.

# List the verbs.
default:
    @just --list --unsorted

# Start the sample run.
demo *args:
    python3 dev demo {{args}}

# Run every check and the tests.
test *args:
    python3 dev test {{args}}

# Run the tests that the default run leaves out.
slow *args:
    python3 dev test -m slow {{args}}

# Run the tests that need Postgres.
test-pg *args:
    python3 dev test -m postgres {{args}}

# Check style, format and the arrows between the rings.
lint:
    python3 dev lint

# Check the types with both checkers.
types:
    python3 dev types

# Measure.
bench *args:
    python3 dev bench {{args}}

# Pin the newest allowed versions.
lock:
    python3 dev lock
