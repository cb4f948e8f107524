"""A run of scripts/ground_images.py that is killed while it writes its third shard: killed_grounding.py ARGUMENTS."""

import os
import signal

from plvl.data.answer_shards import AnswerShards
from plvl.scripts.ground_images import main

write = AnswerShards.write


def write_or_die(shards, number, answers):
    def dying(answers):
        yield next(answers)
        os.kill(os.getpid(), signal.SIGKILL)

    there = shards.num_shards - len(shards.missing())
    write(shards, number, dying(answers) if there == 2 else answers)


if __name__ == "__main__":
    AnswerShards.write = write_or_die
    main()
